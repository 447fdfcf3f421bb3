"""Places in arrays in, neighbouring numbers that a core takes through one instruction out: vectors for compiled loops.

A compiler makes vectors of a loop's innermost index only, and puts sums over an outer index into memory. Here a kernel
says itself what is a vector, and the compiler keeps it in registers for as long as it is used. Import needs numba.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

LANE_BYTES = 64 if llvm.get_host_cpu_features().get("avx512f") else 32
"""Of a vector: the widest that a core has registers for; wider ones than it knows are taken in parts."""

# A product and a sum may become one instruction (fma); nothing else may change.
_FLAGS = ("contract",)


def _operation(define: Callable[..., Any]) -> Any:
    """What compiled loops may call, without the first argument, which the compiler adds."""
    return intrinsic(define)


class Lanes(types.Type):
    """A vector of float32 or float64."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(name=f"Lanes({dtype})")
        self.dtype = dtype


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    """How the compiler sees it."""

    def __init__(self, manager: Any, lanes: Any) -> None:
        vector = ir.VectorType(manager[lanes.dtype].get_value_type(), LANE_BYTES * 8 // lanes.dtype.bitwidth)
        super().__init__(manager, lanes, vector)  # type: ignore[no-untyped-call] # untyped there


def _address(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [place])


@_operation
def read(typing_context: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """The lanes from a place of a flat array on."""
    result = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        pointer = builder.bitcast(address, context.get_value_type(result).as_pointer())
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return result(array, types.intp), generate


@_operation
def write(typing_context: Any, array: Any, place: Any, lanes: Any) -> Any:  # noqa: ARG001
    """Put lanes into a flat array from a place on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments[:2])
        pointer = builder.bitcast(address, arguments[2].type.as_pointer())
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_operation
def spread(typing_context: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """One number of a flat array, in all lanes."""
    result = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(_address(context, builder, signature.args[0], *arguments))
        vector = context.get_value_type(result)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        every = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
        return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), every)

    return result(array, types.intp), generate


@_operation
def nothing(typing_context: Any, array: Any) -> Any:  # noqa: ARG001
    """Zero in all lanes, of the kind that an array has."""
    result = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        vector = context.get_value_type(result)
        return ir.Constant(vector, [0.0] * vector.count)

    return result(array), generate


@_operation
def multiply(typing_context: Any, left: Any, right: Any) -> Any:  # noqa: ARG001
    """Products of lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.fmul(*arguments, flags=_FLAGS)

    return left(left, right), generate


@_operation
def add_product(typing_context: Any, total: Any, left: Any, right: Any) -> Any:  # noqa: ARG001
    """Set total + left right, in each lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        total, left, right = arguments
        return builder.fadd(total, builder.fmul(left, right, flags=_FLAGS), flags=_FLAGS)

    return total(total, left, right), generate
