"""A value of ours as an OPC UA data type takes it: exact, within its range, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncua.ua import VariantType

from drivers.base import WriteRefusedError

if TYPE_CHECKING:
    from gateway.core.model import Scalar

_INTEGERS: Final = {
    VariantType.SByte: (-(2**7), 2**7 - 1),
    VariantType.Byte: (0, 2**8 - 1),
    VariantType.Int16: (-(2**15), 2**15 - 1),
    VariantType.UInt16: (0, 2**16 - 1),
    VariantType.Int32: (-(2**31), 2**31 - 1),
    VariantType.UInt32: (0, 2**32 - 1),
    VariantType.Int64: (-(2**63), 2**63 - 1),
    VariantType.UInt64: (0, 2**64 - 1),
}
_FLOATS: Final = frozenset({VariantType.Float, VariantType.Double})


def expressed(value: Scalar, kind: VariantType) -> Any:
    """The value as this built-in type. Raises WriteRefusedError, with what was found and what is allowed."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in _INTEGERS and is_number:
        least, greatest = _INTEGERS[kind]
        if value == int(value) and least <= value <= greatest:  # type: ignore[arg-type] # a number, see above
            return int(value)
        raise WriteRefusedError(f"found {value!r}, allowed by the variable's type {kind.name}: {least} to {greatest}")
    if kind in _FLOATS and is_number:
        return float(value)  # type: ignore[arg-type] # a number, see above
    if kind is VariantType.Boolean and (isinstance(value, bool) or value in (0, 1)):
        return bool(value)
    if kind is VariantType.String and value is not None and not isinstance(value, bool):
        return str(value)
    raise WriteRefusedError(f"found {value!r}, which a variable of the type {kind.name} cannot take")
