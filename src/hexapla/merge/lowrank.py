"""The best approximation of an update by an adapter of rank r: the truncated singular value decomposition.

Shapes: O output width, I input width, r rank, R the joint rank of several adapters. By Eckart and Young, U_r S_r V_rᵀ
is the nearest matrix of rank r in the Frobenius norm. It is split evenly: B = U_r √S_r, A = √S_r V_rᵀ.
"""

from __future__ import annotations

import torch


def truncate(update_OI: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (A [r, I], B [O, r]) of the nearest matrix of rank `rank`, float64; zero rows where the update has less.

    From the eigenvectors of the smaller Gram matrix in float64: exact to float32's precision for all singular values
    above about 1e-8 of the largest, and cheaper than a full decomposition by far.
    """
    if update_OI.shape[0] > update_OI.shape[1]:
        b, a = truncate(update_OI.T, rank)
        return b.T, a.T
    matrix = update_OI.double()
    kept = min(rank, *matrix.shape)
    _, vectors = torch.linalg.eigh(matrix @ matrix.T)  # eigenvalues ascend
    u_Or = vectors[:, -kept:].flip(1)
    sv_rI = u_Or.T @ matrix
    s_r = torch.linalg.vector_norm(sv_rI, dim=1)
    v_rI = sv_rI / torch.where(s_r == 0, 1, s_r)[:, None]
    return _split(u_Or, s_r, v_rI, rank)


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
