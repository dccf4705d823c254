"""The language of filters: text to a tree.

Here: tokens, the parser, `FilterError`. Not here: the nodes and their way back to text
(`usbmon.filters.tree`), fields, and how values are written.

Theory: a Pratt parser; ``or`` binds least, then ``and``, ``not``, comparisons, ``&``. What stands
right of a comparison is read as the field's kind wants it, so ``1:5``, ``10ms`` and ``55:53`` need
no quotes and are one token: a word. Text is bounded in length and depth, and so are time and stack.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple

from usbmon.errors import UsbmonError
from usbmon.filters import values
from usbmon.filters.tree import (
    AND,
    NOT,
    OR,
    And,
    Compare,
    Contains,
    Has,
    Matches,
    Node,
    Not,
    Operand,
    Or,
    Within,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from usbmon.filters.fields import Field
    from usbmon.filters.values import Value

LONGEST: Final = 4096
DEEPEST: Final = 50
_SHOWN: Final = 72


class FilterError(UsbmonError, ValueError):
    """A filter that cannot be read. `start` and `end`: the place in `text`; `suggestion`: what was
    perhaps meant there, or "".

    A class of its own beside the package's three, for editors and the command: they point at the
    place. Who does not, catches `UsbmonError` and has the caret in the message.
    """

    def __init__(
        self, message: str, text: str, start: int, end: int, *, suggestion: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.start = start
        self.end = end
        self.suggestion = suggestion

    def __str__(self) -> str:
        meant = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        # Of a long text, what stands round the place.
        begin = max(0, self.start - _SHOWN // 2) if len(self.text) > _SHOWN else 0
        part = self.text[begin : begin + _SHOWN]
        plain = "".join(char if char.isprintable() else " " for char in part)
        at = self.start - begin
        carets = "^" * max(1, min(self.end, begin + len(part)) - self.start)
        return f"{self.message}{meant}\n  {plain}\n  {' ' * at}{carets}"


# Tokens


class Token(NamedTuple):
    """`kind`: "word", "string", "sign" or, behind the last, "end"."""

    kind: str
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<word>-?\w+(?:[.:]\w+)*)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<sign>==|!=|<=|>=|&&|\|\||\.\.|[<>!&(){},~])
    |(?P<end>\Z)
    |(?P<quote>["'])
    |(?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)

# Wireshark's words, and C's signs: what they mean here.
_SAME: Final = {
    "&&": "and", "||": "or", "!": "not", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=", "~": "matches", "bitand": "&",
}  # fmt: skip
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_HINTS: Final = {"=": "compare with ==", "|": "write or", "[": "write data matches for a place"}


def tokens(text: str) -> Iterator[Token]:
    """The tokens, and one for the end. Raises `FilterError` at what is none."""
    at = 0
    while True:
        match = _TOKEN.match(text, at)
        assert match is not None
        assert match.lastgroup is not None
        kind, (start, at) = match.lastgroup, match.span(match.lastgroup)
        if kind == "quote":
            raise FilterError("a quote that is not closed", text, start, len(text))
        if kind == "other":
            hint = _HINTS.get(match[kind])
            more = f"; {hint}" if hint else ""
            raise FilterError(f"{match[kind]!r} has no meaning here{more}", text, start, at)
        yield Token(kind, match[kind], start, at)
        if kind == "end":
            return


def meaning(token: Token) -> str:
    """What a token is as an operator."""
    return "" if token.kind == "string" else _SAME.get(token.text, token.text)


# The parser

_POWER: Final = {"or": OR, "and": AND}


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._text = text
        self._fields = fields
        self._tokens = list(tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        if self._next.kind == "end":
            raise self._error("an empty filter; `usbmon filter --help` has examples")
        node = self._expression(0)
        if self._next.kind != "end":
            found = values.quoted(self._next.text)
            raise self._error(f"expected and, or, or the end before {found}")
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _error(self, message: str, token: Token | None = None, suggestion: str = "") -> FilterError:
        at = token or self._next
        return FilterError(message, self._text, at.start, at.end, suggestion=suggestion)

    def _expression(self, power: int) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"nested deeper than {DEEPEST} levels")
        left = self._prefix()
        while _POWER.get(op := meaning(self._next), 0) > power:
            self._take()
            left = _joined(op, left, self._expression(_POWER[op]))
        self._depth -= 1
        return left

    def _prefix(self) -> Node:
        token = self._take()
        if meaning(token) == "not":
            return Not(self._expression(NOT))
        if token.text == "(" and token.kind == "sign":
            return self._parenthesis(token)
        return self._condition(Operand(self._field(token)))

    def _parenthesis(self, opening: Token) -> Node:
        node = self._expression(0)
        if self._next.kind == "end":
            raise self._error("this parenthesis is not closed", opening)
        if self._next.text != ")":
            raise self._error(f"expected and, or, or ) before {values.quoted(self._next.text)}")
        self._take()
        # As in ``(setup.bmRequestType & 0x60) == 0x20``.
        return self._condition(node.operand) if isinstance(node, Has) else node

    def _field(self, token: Token) -> Field:
        if token.kind == "end":
            raise self._error("a condition is missing here", token)
        field = self._fields.get(token.text)
        if field is not None:
            return field
        if token.kind != "word" or token.text[0] in "-0123456789":
            raise self._error("a condition begins with the name of a field", token)
        near = values.nearest(token.text, self._fields)
        more = "" if near else "; `usbmon filter --help` lists them"
        raise self._error(f"no field {values.quoted(token.text)}{more}", token, near)

    def _condition(self, operand: Operand) -> Node:
        token = self._next
        op = meaning(token)
        if op not in values.OPERATORS:
            return Has(operand)
        if op not in operand.field.kind.operators:
            raise self._no_operator(operand, token)
        self._take()
        if op == "&":
            return self._condition(self._bits(operand, token))
        if op == "in":
            return self._within(operand)
        if op == "contains":
            return self._contains(operand)
        if op == "matches":
            return self._matches(operand)
        return Compare(operand, op, self._value_or_field(operand))

    def _no_operator(self, operand: Operand, token: Token) -> FilterError:
        field = operand.field
        takes = ", ".join(field.kind.operators)
        return self._error(f"{field.name} takes {takes}; not {token.text}", token)

    def _bits(self, operand: Operand, sign: Token) -> Operand:
        if operand.mask is not None:
            raise self._no_operator(operand, sign)
        token = self._next
        mask = self._value(operand)
        if not isinstance(mask, int) or not mask > 0:
            raise self._error("bits are a number above 0", token)
        return Operand(operand.field, mask)

    def _value(self, operand: Operand) -> Value:
        token = self._take()
        if token.kind not in ("word", "string"):
            raise self._error("a value is missing here", token)
        quoted = token.kind == "string"
        word = token.text[1:-1] if quoted else token.text
        try:
            return operand.field.kind.read(word, quoted, operand.field.symbols)
        except ValueError as error:
            raise self._error(f"{operand.field.name}: {error}", token) from None

    def _value_or_field(self, operand: Operand) -> Value | Operand:
        """A value; or another field of the same kind, as in ``captured < len``."""
        other = self._fields.get(self._next.text)
        symbols = {name.lower() for name in operand.field.symbols}
        kind = operand.field.kind
        if other is None or self._next.text.lower() in symbols or kind is values.BYTES:
            return self._value(operand)
        if other.kind.name != kind.name:
            raise self._error(f"{other.name} is not comparable with {operand.field.name}")
        self._take()
        return Operand(other)

    def _within(self, operand: Operand) -> Node:
        if self._next.text != "{":
            return Within(operand, (self._range(operand),))
        opening = self._take()
        ranges = [self._range(operand)]
        while self._next.text == ",":
            self._take()
            ranges.append(self._range(operand))
        if self._next.kind == "end":
            raise self._error("this brace is not closed", opening)
        if self._next.text != "}":
            raise self._error(f"expected , or }} before {values.quoted(self._next.text)}")
        self._take()
        return Within(operand, tuple(ranges))

    def _range(self, operand: Operand) -> tuple[int, int]:
        first = self._next
        low = high = self._value(operand)
        if self._next.text == "..":
            self._take()
            high = self._value(operand)
        assert isinstance(low, int)
        assert isinstance(high, int)
        if low > high:
            last = self._tokens[self._at - 1]
            raise FilterError(
                "a range whose end lies before its start", self._text, first.start, last.end
            )
        return low, high

    def _contains(self, operand: Operand) -> Node:
        needle = self._value(operand)
        assert isinstance(needle, bytes)
        return Contains(operand, needle)

    def _matches(self, operand: Operand) -> Node:
        token = self._take()
        if token.kind != "string":
            raise self._error('a pattern in quotes is missing here, as "^USB[CS]"', token)
        # A quote needs a backslash in the filter only, none in the expression.
        pattern = _ESCAPED.sub(lambda m: m[1] if m[1] in "\"'" else m[0], token.text[1:-1])
        node = Matches(operand, pattern)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Python may one day read otherwise
                node.compiled()
        except (re.error, OverflowError, RecursionError, UnicodeError) as error:
            raise self._error(f"no regular expression: {error}", token) from None
        return node


def _joined(op: str, left: Node, right: Node) -> Node:
    """Chains are flat: a long one is no deep one."""
    kind = And if op == "and" else Or
    parts = [
        part
        for side in (left, right)
        for part in (side.parts if isinstance(side, kind) else (side,))
    ]
    return kind(tuple(parts))


def parse(text: str, fields: Mapping[str, Field]) -> Node:
    """The tree of a filter. Raises `FilterError`."""
    if len(text) > LONGEST:
        raise FilterError(f"a filter has at most {LONGEST} characters", text, LONGEST, LONGEST)
    return _Parser(text, fields).whole()
