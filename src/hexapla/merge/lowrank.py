"""The best approximation of an update by an adapter of rank r: the truncated singular value decomposition.

Shapes: O output width, I input width, r rank, R the joint rank of several adapters. By Eckart and Young, U_r S_r V_rᵀ
is the nearest matrix of rank r in the Frobenius norm. It is split evenly: B = U_r √S_r, A = √S_r V_rᵀ.
"""

from __future__ import annotations

import torch

# Below this width the Gram matrix is decomposed at once; above, the subspace iteration is faster (measured 2026-11-21).
_DIRECT_WIDTH = 384
_OVERSAMPLING = 16
# Largest residual of a singular pair, relative to the largest eigenvalue. It bounds how far the energy of a pair can be
# from the best (in fact it is off by some 1e-12), and is some ten times the rounding error of the float32 products.
_TOLERANCE = 1e-5


def truncate(update_OI: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (A [r, I], B [O, r]) of the nearest matrix of rank `rank`, float64; zero rows where the update has less.

    Narrow matrices and large ranks: eigenvectors of the smaller Gram matrix in float64, exact to float32's precision.
    Else: block Krylov iteration (arXiv 1504.05477, algorithm 2) until every pair's residual is small; if that takes too
    long, as for narrow ones.
    """
    if update_OI.shape[0] > update_OI.shape[1]:
        a, b = truncate(update_OI.T, rank)
        return b.T, a.T
    kept = min(rank, *update_OI.shape)
    width = update_OI.shape[0]
    u_Or = None
    tame = 1e-8 < float(torch.linalg.vector_norm(update_OI)) < 1e8  # so that float32 holds the squares
    if width > _DIRECT_WIDTH and 4 * (kept + _OVERSAMPLING) <= width and tame:
        u_Or = _leading_by_iteration(update_OI, kept)
    if u_Or is None:
        u_Or = torch.linalg.eigh(_gram(update_OI)).eigenvectors[:, -kept:]  # eigenvalues ascend
    coordinates_rI = u_Or.T @ update_OI.double() if width <= _DIRECT_WIDTH else u_Or.T.float() @ update_OI
    return truncate_product(u_Or, coordinates_rI, rank)


def _gram(update_OI: torch.Tensor) -> torch.Tensor:
    """M Mᵀ in float64, of which M never needs a copy as a whole."""
    gram_OO = torch.zeros(update_OI.shape[0], update_OI.shape[0], dtype=torch.float64)
    for columns in update_OI.split(1024, dim=1):
        wide = columns.double()
        gram_OO.addmm_(wide, wide.T)
    return gram_OO


def _gram_times(update_OI: torch.Tensor, block_Om: torch.Tensor) -> torch.Tensor:
    """(M Mᵀ) Q in float32, by the products that are fastest for M's layout (measured 2026-11-21: by a third)."""
    if update_OI.is_contiguous():
        return update_OI @ (block_Om.T @ update_OI).T
    return ((update_OI.T @ block_Om).T @ update_OI.T).T


def _leading_by_iteration(update_OI: torch.Tensor, rank: int) -> torch.Tensor | None:
    """Orthonormal vectors [O, r] that span the leading left singular space; None if half the width does not find it."""
    width = update_OI.shape[0]
    block = rank + _OVERSAMPLING
    start = torch.randn(width, block, generator=torch.Generator().manual_seed(0))  # any start finds the same space
    basis_Om, image_Om = update_OI.new_empty(width, 0), update_OI.new_empty(width, 0)  # Q and (M Mᵀ) Q
    fresh = torch.linalg.qr(_gram_times(update_OI, start)).Q
    while basis_Om.shape[1] + block <= width // 2:
        basis_Om = torch.cat([basis_Om, fresh], dim=1)
        image_Om = torch.cat([image_Om, _gram_times(update_OI, fresh)], dim=1)
        projected = (basis_Om.T @ image_Om).double()
        values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
        ritz_mr, top_r = vectors[:, -rank:].float(), values[-rank:].float()
        residual = image_Om @ ritz_mr - (basis_Om @ ritz_mr) * top_r
        if torch.linalg.vector_norm(residual, dim=0).max() <= _TOLERANCE * values[-1]:
            return torch.linalg.qr((basis_Om @ ritz_mr).double()).Q
        fresh = image_Om[:, -block:]
        for _ in range(2):  # once is not enough in float32
            fresh = torch.linalg.qr(fresh - basis_Om @ (basis_Om.T @ fresh)).Q
    return None


def truncate_product(b_OR: torch.Tensor, a_RI: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `truncate`, of the product B A, whose full size never appears: two QR decompositions and one R×R SVD."""
    q_b, r_b = torch.linalg.qr(b_OR.double())
    q_a, r_a = torch.linalg.qr(a_RI.double().T)
    u, s, vh = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    kept = min(rank, len(s))
    return _split(q_b @ u[:, :kept], s[:kept], vh[:kept] @ q_a.T, rank)


def _split(u_Or: torch.Tensor, s_r: torch.Tensor, v_rI: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Balanced factors, filled up with zeros to `rank`.

    A singular pair is defined up to a common sign; here the largest entry of each left vector is made positive.
    """
    peak = u_Or.gather(0, u_Or.abs().argmax(dim=0, keepdim=True))[0]
    root_r = s_r.sqrt()
    sign_r = torch.where(peak < 0, -1.0, 1.0).to(u_Or.dtype)
    a = v_rI.new_zeros(rank, v_rI.shape[1])
    b = u_Or.new_zeros(u_Or.shape[0], rank)
    a[: len(s_r)] = v_rI * (root_r * sign_r)[:, None]
    b[:, : len(s_r)] = u_Or * (root_r * sign_r)
    return a, b
