"""Layouts in memory that an embedding may come in: LAYOUTS, name -> function that gives the same numbers so."""

import torch


def column_slice(z):
    return torch.cat([z + 1, z, z - 1], 1)[:, z.shape[1] : 2 * z.shape[1]]


def row_slice(z):
    return torch.cat([z + 1, z])[z.shape[0] :]


def every_second(z):
    n, d = z.shape
    room = z.new_full((2 * n, 3 * d), torch.nan)
    room[1::2, 2::3] = z
    return room[1::2, 2::3]


def every_second_of_a_transposed(z):
    n, d = z.shape
    room = z.new_full((2 * d, 3 * n), torch.nan)
    room[1::2, 2::3] = z.T
    return room[1::2, 2::3].T


def middle_of_three(z):
    return torch.stack([z + 1, z, z - 1], 1)[:, 1]


LAYOUTS = {
    "transposed": lambda z: z.T.contiguous().T,
    "column slice": column_slice,
    "row slice": row_slice,
    "steps": every_second,
    "steps, transposed": every_second_of_a_transposed,
    "middle of three": middle_of_three,
}
