"""The selective scan by the kernels of the package mamba-ssm, for comparison: used only when asked for by name.

They scan forwards, over all outputs, from an empty state; so a reverse scan is flipped, and outputs are picked from
all of them. Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

from torch import Tensor

from bimba.errors import InputError
from bimba.ops.selective_scan.arguments import ScanArguments
from bimba.ops.selective_scan.checks import check_positions


def selective_scan_mamba_ssm(arguments: ScanArguments) -> tuple[Tensor, Tensor]:
    """Scan; the gradients are the package's own.

    Returns:
        y [B, Q, E] in x's dtype, and the final state [B, E, N], which has no gradient.

    Raises:
        InputError: there is an initial state.
    """
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    if arguments.initial_state is not None:
        raise InputError(
            "mamba-ssm starts from an empty state only.", fix='use implementation="triton" or "auto" for pieces.'
        )
    x, positions = arguments.x, arguments.positions
    if positions is not None:
        check_positions(positions, x.shape[1])
        positions = positions.to(x.device)
    C = _at_all_steps(arguments.C, x, positions)
    z = None if arguments.z is None else _at_all_steps(arguments.z, x, positions)

    def theirs(tensor: Tensor) -> Tensor:
        """[B, L, ...] -> [B, ..., L], running forwards."""
        return (tensor.flip(1) if arguments.reverse else tensor).transpose(1, 2).contiguous()

    y, final_state = selective_scan_fn(
        theirs(x),
        theirs(arguments.dt.to(x.dtype)),
        arguments.A.float(),
        theirs(arguments.B.to(x.dtype)),
        theirs(C.to(x.dtype)),
        None if arguments.D is None else arguments.D.float(),
        None if z is None else theirs(z.to(x.dtype)),
        None if arguments.dt_bias is None else arguments.dt_bias.float(),
        arguments.dt_softplus,
        True,  # return_last_state
    )
    y = y.transpose(1, 2)
    if arguments.reverse:
        y = y.flip(1)
    return (y if positions is None else y.index_select(1, positions)).contiguous(), final_state.detach()


def _at_all_steps(tensor: Tensor, x: Tensor, positions: Tensor | None) -> Tensor:
    """[B, Q, ...] at some positions -> [B, L, ...], zeros elsewhere."""
    if positions is None:
        return tensor
    batch, length, _ = x.shape
    return tensor.new_zeros(batch, length, tensor.shape[2]).index_copy(1, positions, tensor)
