"""Mamba-2's scan by matrix products: within chunks all steps at once, from chunk to chunk a state.

The equations are those of the README, "Chunks" and "Gradients". Between chunks states are kept as [B, G, N, R * P], in
which all heads of a group are one matrix.

Shapes: B batch, L length, H heads, P width of a head, G groups, R = H / G heads of a group, N state, S pieces, K chunks
of a piece, J steps of a chunk.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bimba.ops.ssd.arguments import SSDArguments
from bimba.ops.ssd.decays import Decays, find_decays
from bimba.ops.ssd.pieces import cut_into_chunks
from bimba.ops.ssd.workspace import Workspace


class SSDResult(NamedTuple):
    """What a forward pass gives.

    Attributes:
        y: [B, L, H, P] in x's dtype.
        final_state: [B, H, P, N] in the state's dtype.
        saved_states: those before each piece [S, B, G, N, R * P]; S is 0 if none were to be saved.
    """

    y: Tensor
    final_state: Tensor
    saved_states: Tensor


class SSDGradients(NamedTuple):
    """The gradient of each tensor argument, in its shape and dtype; None where the argument is None."""

    x: Tensor
    steps: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    initial_state: Tensor | None


def forward(arguments: SSDArguments, *, save_states: bool) -> SSDResult:
    """Scan; see `SSDArguments` and `SSDResult`."""
    scan = _Scan(arguments)
    y = torch.empty_like(arguments.x, memory_format=torch.contiguous_format)
    state = scan.first_state()
    saved = state.new_empty(len(scan.chunks.pieces) if save_states else 0, *state.shape)
    for number, piece in enumerate(scan.chunks.pieces):
        if save_states:
            saved[number] = state
        _read(scan, scan.load(piece), state, y)
    return SSDResult(y, scan.as_heads(state).clone(), saved)


def backward(arguments: SSDArguments, saved_states: Tensor, grad_y: Tensor, grad_state: Tensor) -> SSDGradients:
    """Gradients from those of y [B, L, H, P] and of the final state [B, H, P, N], the last piece first."""
    scan = _Scan(arguments)
    gradients = _Sums(arguments)
    carried = scan.as_groups(grad_state)
    for piece, state in reversed(list(zip(scan.chunks.pieces, saved_states, strict=True))):
        carried = _differentiate(scan, scan.load(piece), state, grad_y, carried, gradients)
    return gradients.finished(scan.as_heads(carried))


class _Piece(NamedTuple):
    """A piece's tensors, in the state's dtype.

    Attributes:
        chunks: which of the sequence's.
        x: [K, B, G, R, J, P], a view in x's dtype.
        steps: [K, B, G, R, J].
        inputs: steps times x [K, B, G, R, J, P].
        left_inputs: what is left of them at the chunk's end [K, B, G, J, R, P].
        B: [K, B, G, J, N].
        C: [K, B, G, J, N].
        scores: C[t] . B[j] where there is a way from j to t, else 0 [K, B, G, J, J].
        decays: see there.
    """

    chunks: slice
    x: Tensor
    steps: Tensor
    inputs: Tensor
    left_inputs: Tensor
    B: Tensor
    C: Tensor
    scores: Tensor
    decays: Decays


class _Scan:
    """One call: its arguments, its sizes and its workspace."""

    def __init__(self, arguments: SSDArguments) -> None:
        self.arguments = arguments
        self.batch, _, self.heads, self.width = arguments.x.shape
        self.groups, self.state_dim = arguments.B.shape[2:]
        self.heads_a_group = self.heads // self.groups
        self.workspace = Workspace(arguments.x, arguments.state_dtype)
        self.rates = arguments.A.to(arguments.state_dtype)
        self.chunks = cut_into_chunks(arguments.x)
        self._decays = find_decays(arguments.steps, self.rates, arguments.seq_idx, self.chunks)

    def first_state(self) -> Tensor:
        """[B, G, N, R * P], to be changed in place."""
        given, dtype = self.arguments.initial_state, self.arguments.state_dtype
        if given is None:
            shape = (self.batch, self.groups, self.state_dim, self.heads_a_group * self.width)
            return torch.zeros(shape, dtype=dtype, device=self.arguments.x.device)
        return self.as_groups(given.to(dtype)).clone(memory_format=torch.contiguous_format)

    def as_groups(self, state: Tensor) -> Tensor:
        """[B, H, P, N] -> [B, G, N, R * P]."""
        grouped: Tensor = state.unflatten(1, (self.groups, -1))
        return grouped.permute(0, 1, 4, 2, 3).flatten(3)

    def as_heads(self, state: Tensor) -> Tensor:
        """[B, G, N, R * P] -> [B, H, P, N]."""
        split: Tensor = state.unflatten(3, (self.heads_a_group, -1))
        return split.permute(0, 1, 3, 4, 2).flatten(1, 2)

    def cut(self, piece: slice, tensor: Tensor) -> Tensor:
        """[B, L, H, P] -> [K, B, G, R, J, P]."""
        grouped: Tensor = self.chunks.cut(tensor, piece).unflatten(3, (self.groups, -1))
        return grouped.permute(0, 1, 3, 4, 2, 5)

    def place(self, piece: slice, target: Tensor) -> Tensor | None:
        """Where `paste` would put values [K, B, G, R, J, P], if they need no cutting and no rounding."""
        fits = target.dtype == self.arguments.state_dtype and not self.chunks.reaches_beyond(piece)
        return self.cut(piece, target) if fits else None

    def paste(self, piece: slice, values: Tensor, target: Tensor) -> None:
        """[K, B, G, R, J, P] to its place in [B, L, H, P]."""
        self.chunks.paste(piece, values.permute(0, 1, 4, 2, 3, 5), target.unflatten(2, (self.groups, -1)))

    def load(self, piece: slice) -> _Piece:
        """What both passes need of a piece."""
        taken, arguments, decays = self.workspace, self.arguments, self._decays.of(piece)
        x = self.cut(piece, arguments.x)
        num_steps = x.shape[4]
        steps = decays.steps.unflatten(2, (self.groups, -1))
        inputs = torch.mul(x, steps.unsqueeze(-1), out=taken("inputs", *x.shape))
        by_row = inputs.transpose(3, 4)
        left_inputs = torch.mul(by_row, self.by_row(decays.leaving), out=taken("left_inputs", *by_row.shape))
        shape = (*x.shape[:3], num_steps, self.state_dim)
        B = taken("B", *shape).copy_(self.chunks.cut(arguments.B, piece).transpose(2, 3))
        C = taken("C", *shape).copy_(self.chunks.cut(arguments.C, piece).transpose(2, 3))
        scores = taken("scores", *shape[:4], num_steps)
        _multiply(C, B.mT, scores)
        decays.mask(scores)
        return _Piece(piece, x, steps, inputs, left_inputs, B, C, scores, decays)

    def pass_over(self, piece: _Piece, number: int, state: Tensor) -> None:
        """Take the state [B, G, N, R * P] over a chunk of the piece, in place."""
        state.unflatten(3, (self.heads_a_group, self.width)).mul_(self._over_states(piece.decays.whole[number]))
        _multiply(piece.B[number].mT, piece.left_inputs[number].flatten(3), state, add=True)

    def states(self, piece: _Piece, state: Tensor) -> Tensor:
        """Those before each chunk of the piece and after the last [K + 1, B, G, N, R * P], from the first."""
        states = self.workspace("states", piece.x.shape[0] + 1, *state.shape)
        states[0].copy_(state)
        _multiply(piece.B.mT, piece.left_inputs.flatten(4), states[1:])
        for number in range(states.shape[0] - 1):
            self._fade_into(states[number + 1], states[number], piece.decays.whole[number])
        return states

    def fade(self, piece_states: Tensor, decays: Decays) -> None:
        """Add to each state [K + 1, B, G, N, R * P] what is left of the one after it, the last first, in place."""
        for number in reversed(range(piece_states.shape[0] - 1)):
            self._fade_into(piece_states[number], piece_states[number + 1], decays.whole[number])

    def _fade_into(self, state: Tensor, other: Tensor, whole: Tensor) -> None:
        """Add what is left of the other [B, G, N, R * P] by the shares [B, H], in place."""
        split = (self.heads_a_group, self.width)
        state.unflatten(3, split).addcmul_(other.unflatten(3, split), self._over_states(whole))

    def _over_states(self, whole: Tensor) -> Tensor:
        """[B, H] -> [B, G, 1, R, 1]."""
        shares: Tensor = whole.unflatten(1, (self.groups, 1, self.heads_a_group, 1))
        return shares

    def by_row(self, shares: Tensor) -> Tensor:
        """[K, B, H, J] -> [K, B, G, J, R, 1]."""
        grouped: Tensor = shares.unflatten(2, (self.groups, -1))
        return grouped.transpose(3, 4).unsqueeze(-1)


def _multiply(left: Tensor, right: Tensor, result: Tensor, *, add: bool = False) -> None:
    """Matrix products [..., I, M] x [..., M, O] -> [..., I, O], contiguous, written there or added to what is there."""
    flat = result.view(-1, *result.shape[-2:])
    left, right = left.reshape(-1, *left.shape[-2:]), right.reshape(-1, *right.shape[-2:])
    if add:
        flat.baddbmm_(left, right)
    else:
        torch.bmm(left, right, out=flat)


def _read(scan: _Scan, piece: _Piece, state: Tensor, y: Tensor) -> None:
    """Outputs of a piece, to their place in y [B, L, H, P]; takes the state before the piece behind it, in place."""
    taken, decays = scan.workspace, piece.decays
    mixed = decays.between(taken).view(*piece.inputs.shape[:4], *piece.scores.shape[3:])
    mixed.mul_(piece.scores.unsqueeze(3))
    near = taken("near", *piece.inputs.shape)
    D = scan.arguments.D
    if D is not None:
        torch.mul(piece.x, _skip(scan, D), out=near)
    _multiply(mixed, piece.inputs, near, add=D is not None)
    far = taken("far", *piece.left_inputs.shape)
    for number in range(far.shape[0]):
        _multiply(piece.C[number], state, far[number].flatten(3))
        scan.pass_over(piece, number, state)
    far.mul_(scan.by_row(decays.entering))
    place = scan.place(piece.chunks, y)
    if place is None:
        scan.paste(piece.chunks, near.add_(far.transpose(3, 4)), y)
    else:
        torch.add(far, near.transpose(3, 4), out=place.transpose(3, 4))


def _skip(scan: _Scan, D: Tensor) -> Tensor:
    """[H] or [H, P] -> [G, R, 1, 1 or P] in the state's dtype."""
    return D.to(scan.arguments.state_dtype).reshape(scan.groups, scan.heads_a_group, 1, -1)


class _Sums:
    """The gradients of a call, filled piece by piece."""

    def __init__(self, arguments: SSDArguments) -> None:
        def zeros(tensor: Tensor) -> Tensor:
            return torch.zeros(tensor.shape, dtype=arguments.state_dtype, device=tensor.device)

        def room(tensor: Tensor) -> Tensor:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)

        self._arguments = arguments
        self.x, self.steps = room(arguments.x), room(arguments.steps)
        self.B, self.C = room(arguments.B), room(arguments.C)
        self.A = zeros(arguments.A)
        self.D = None if arguments.D is None else zeros(arguments.D)

    def finished(self, grad_state: Tensor) -> SSDGradients:
        """All of them, in their dtypes, with that of the initial state [B, H, P, N]."""
        arguments = self._arguments
        first, D = arguments.initial_state, arguments.D
        return SSDGradients(
            self.x,
            self.steps,
            self.A.to(arguments.A.dtype),
            self.B,
            self.C,
            None if D is None or self.D is None else self.D.to(D.dtype),
            None if first is None else grad_state.to(first.dtype).clone(),  # without steps it is what came in
        )


def _differentiate(
    scan: _Scan, piece: _Piece, state: Tensor, grad_y: Tensor, carried: Tensor, gradients: _Sums
) -> Tensor:
    """Gradients of a piece, to their places, and that of the state before it, from that of the state after it."""
    taken, decays = scan.workspace, piece.decays
    before = scan.states(piece, state)[:-1]
    K = before.shape[0]
    by_head, by_row = piece.inputs.shape, piece.left_inputs.shape
    near = taken("grad_near", *by_head).copy_(scan.cut(piece.chunks, grad_y))
    far = torch.mul(near.transpose(3, 4), scan.by_row(decays.entering), out=taken("grad_far", *by_row))

    # Through what is read from states: C, the states, and the shares that enter.
    states = taken("grad_states", K + 1, *state.shape)
    states[K].copy_(carried)
    _multiply(piece.C.mT, far.flatten(4), states[:K])
    scan.fade(states, decays)
    C = taken("grad_C", *piece.C.shape)
    _multiply(far.flatten(4), before.mT, C)
    read = taken("far", *by_row)
    _multiply(piece.C, before, read.flatten(4))
    entering = read.mul_(far).sum(-1).transpose(3, 4)

    # Through what is written to states: B, the inputs, and the shares that leave.
    B = taken("grad_B", *piece.B.shape)
    _multiply(piece.left_inputs.flatten(4), states[1:].mT, B)
    written = taken("written", *by_row)
    _multiply(piece.B, states[1:], written.flatten(4))
    written.mul_(scan.by_row(decays.leaving))
    product = taken("product", *by_row)
    leaving = torch.mul(written, piece.inputs.transpose(3, 4), out=product).sum(-1).transpose(3, 4)
    kept = torch.mul(before, states[1:], out=taken("kept", *states[1:].shape))
    split = (scan.heads_a_group, scan.width)
    whole = kept.unflatten(4, split).sum((3, 5)) * decays.whole.unflatten(2, (scan.groups, -1))

    # Through the products within the chunk.
    inputs = taken("grad_inputs", *by_head)
    scores, between = _through_products(scan, piece, near, inputs)
    _multiply(scores, piece.B, C, add=True)
    _multiply(scores.mT, piece.C, B, add=True)
    inputs.add_(written.transpose(3, 4))

    # A rate acts on what enters until a later step, leaves after an earlier one, or goes all the way.
    rates = between + _sum_of_later(entering) + _sum_of_earlier(leaving) + whole.unsqueeze(-1)
    _fill(scan, piece, (near, inputs, rates), gradients)
    scan.chunks.paste(piece.chunks, B.transpose(2, 3), gradients.B)
    scan.chunks.paste(piece.chunks, C.transpose(2, 3), gradients.C)
    return states[0]


def _through_products(scan: _Scan, piece: _Piece, near: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Fill in the inputs' gradients by the products within chunks.

    Returns:
        Gradients of the scores [K, B, G, J, J], and of the rates, as far as they act between steps [K, B, G, R, J].
    """
    taken, num_steps = scan.workspace, piece.scores.shape[-1]
    shape = (*piece.inputs.shape[:4], num_steps, num_steps)
    between = piece.decays.between(taken).view(shape)
    mixed = taken("grad_mixed", *shape)
    _multiply(near, piece.inputs.mT, mixed)
    mixed.mul_(between)
    scores = taken("grad_scores", *piece.scores.shape)
    torch.sum(mixed, 3, out=scores)
    piece.decays.mask(scores)
    mixed.mul_(piece.scores.unsqueeze(3))
    between.mul_(piece.scores.unsqueeze(3))
    _multiply(between.mT, near, inputs)
    # The rate of step k acts between j < k and t >= k. Sums of what there is, not differences of running sums, which
    # would leave only noise where little is left.
    earlier = taken("earlier", num_steps, num_steps).fill_(1.0).triu_(1)
    torch.mm(mixed.view(-1, num_steps), earlier, out=between.view(-1, num_steps))
    return scores, between.tril_().sum(-2)


def _fill(scan: _Scan, piece: _Piece, found: tuple[Tensor, Tensor, Tensor], gradients: _Sums) -> None:
    """Gradients of x, steps, A and D of a piece, from those of y and inputs [K, B, G, R, J, P] and rates [.., J]."""
    near, inputs, rates = found
    product = scan.workspace("by_head", *inputs.shape)
    steps = torch.mul(inputs, piece.x, out=product).sum(-1)
    steps += rates * scan.rates.view(scan.groups, -1, 1)
    scan.chunks.paste(piece.chunks, steps.permute(0, 1, 4, 2, 3), gradients.steps.unflatten(2, (scan.groups, -1)))
    gradients.A += (rates * piece.steps).sum((0, 1, 4)).flatten()
    inputs.mul_(piece.steps.unsqueeze(-1))
    D = scan.arguments.D
    if D is not None and gradients.D is not None:
        inputs.addcmul_(near, _skip(scan, D))
        skipped = torch.mul(near, piece.x, out=product).sum((0, 1, 4)).flatten(0, 1)
        gradients.D += skipped if D.ndim == 2 else skipped.sum(-1)
    scan.paste(piece.chunks, inputs, gradients.x)


def _sum_of_later(values: Tensor) -> Tensor:
    """Of this step and those after it [..., J]."""
    return values.flip(-1).cumsum(-1).flip(-1)


def _sum_of_earlier(values: Tensor) -> Tensor:
    """Of the steps before this one [..., J]."""
    return functional.pad(values[..., :-1], (1, 0)).cumsum(-1)
