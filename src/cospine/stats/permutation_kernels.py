"""Kernels of permutation: the studentised contrast of one rearrangement in every voxel, and its z.

Arrays are (people, voxels) float32, C-contiguous. A rearrangement puts sign[i] times the residuals of person source[i] in place
i of the design. The design is u (people,), the regressor of interest, of length 1 and orthogonal to the orthonormal nuisance
columns q (columns, people). People come sorted by variance group: group g has places first[g] to first[g + 1].
"""

import math

import numpy as np
from numba import njit

_BLOCK = 512
_TINY = np.float32(1e-30)


@njit(cache=True, nogil=True)
def studentise(residuals, source, sign, u, q, first, freedom, cube, contrast, t, dof, skew):
    """t (or Welch's v) in voxels that everyone has.

    freedom (groups,): degrees of freedom of each group's residuals; cube: factor that makes the third moment unbiased. Filled,
    all (voxels,) float32: contrast, u' of the residuals; t; its degrees of freedom (Satterthwaite); skew, the third cumulant of
    t.
    """
    people, voxels = residuals.shape
    columns, groups = q.shape[0], freedom.size
    along = np.empty((columns, _BLOCK), np.float32)
    left, squares, energy = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    spread, third = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    for start in range(0, voxels, _BLOCK):
        count = min(_BLOCK, voxels - start)
        here = contrast[start : start + count]
        here[:] = 0
        along[:] = 0
        for i in range(people):
            row = residuals[source[i], start : start + count]
            factor = sign[i] * u[i]
            for k in range(count):
                here[k] += factor * row[k]
            for j in range(columns):
                factor = sign[i] * q[j, i]
                for k in range(count):
                    along[j, k] += factor * row[k]
        energy[:] = 0
        spread[:] = 0
        third[:] = 0
        for g in range(groups):
            squares[:] = 0
            share = np.float32(0)
            for i in range(first[g], first[g + 1]):
                row = residuals[source[i], start : start + count]
                s, ui = sign[i], u[i]
                share += ui * ui
                cubed = ui * ui * ui
                for k in range(count):
                    left[k] = s * row[k] - ui * here[k]
                for j in range(columns):
                    factor = q[j, i]
                    for k in range(count):
                        left[k] -= factor * along[j, k]
                for k in range(count):
                    square = left[k] * left[k]
                    squares[k] += square
                    third[k] += cubed * square * left[k]
            share /= freedom[g]
            for k in range(count):
                part = share * squares[k]
                energy[k] += part
                spread[k] += part * part / freedom[g]
        for k in range(count):
            v = start + k
            if energy[k] > _TINY:
                root = math.sqrt(energy[k])
                t[v] = here[k] / root
                dof[v] = energy[k] * energy[k] / spread[k]
                skew[v] = cube * third[k] / (energy[k] * root)
            else:
                t[v], dof[v], skew[v] = 0, 1, 0


@njit(cache=True, nogil=True)
def _orthonormal(columns, many, people):
    """Make the first rows of `columns` (many, people) orthonormal, in order; False when the last is not free of the others."""
    for j in range(many):
        before = 0.0
        for i in range(people):
            before += columns[j, i] * columns[j, i]
        for _ in range(2):  # twice is enough for float64
            for other in range(j):
                common = 0.0
                for i in range(people):
                    common += columns[j, i] * columns[other, i]
                for i in range(people):
                    columns[j, i] -= common * columns[other, i]
        after = 0.0
        for i in range(people):
            after += columns[j, i] * columns[j, i]
        if after > 1e-8 * before:
            norm = math.sqrt(after)
            for i in range(people):
                columns[j, i] /= norm
        else:
            for i in range(people):
                columns[j, i] = 0
            if j == many - 1:
                return False
    return True


@njit(cache=True, nogil=True)
def residuals_of_present(values, present, nuisance):
    """Take nuisance (columns, people) float64 out of values (people, voxels) among those who are present; 0 for the others."""
    people, voxels = values.shape
    columns = nuisance.shape[0]
    basis = np.empty((columns, people), np.float64)
    for v in range(voxels):
        for i in range(people):
            for j in range(columns):
                basis[j, i] = nuisance[j, i] if present[i, v] else 0.0
            if not present[i, v]:
                values[i, v] = 0
        _orthonormal(basis, columns, people)
        for j in range(columns):
            along = 0.0
            for i in range(people):
                along += basis[j, i] * values[i, v]
            for i in range(people):
                values[i, v] -= np.float32(along * basis[j, i])


@njit(cache=True, nogil=True)
def studentise_present(residuals, present, source, sign, x, nuisance, first, contrast, norm, t, dof, skew):
    """As `studentise`, in voxels that some people lack: the design is that of the places to which present people come.

    x (people,) and nuisance (columns, people), float64, as they are; present (people, voxels). norm (voxels,) is filled with the
    length of what is free of x. A voxel where too few are left for the contrast or for a group's variance gets t = 0.
    """
    people, voxels = residuals.shape
    columns, groups = nuisance.shape[0], first.size - 1
    design = np.empty((columns + 1, people), np.float64)
    y, along = np.empty(people, np.float64), np.empty(columns + 1, np.float64)
    begin = np.empty(groups + 1, np.int64)
    for v in range(voxels):
        contrast[v], t[v], dof[v], skew[v], norm[v] = 0, 0, 1, 0, 1
        here = 0
        for g in range(groups):
            begin[g] = here
            for i in range(first[g], first[g + 1]):
                row = source[i]
                if present[row, v]:
                    y[here] = sign[i] * residuals[row, v]
                    for j in range(columns):
                        design[j, here] = nuisance[j, i]
                    design[columns, here] = x[i]
                    here += 1
        begin[groups] = here
        if not _orthonormal(design, columns + 1, here):
            continue
        total, sum_squares, spread, third, enough = 0, 0.0, 0.0, 0.0, True
        for j in range(columns + 1):
            along[j] = 0.0
            for i in range(here):
                along[j] += design[j, i] * y[i]
        rank = 0
        for j in range(columns + 1):
            for i in range(here):
                if design[j, i] != 0:
                    rank += 1
                    break
        for g in range(groups):
            free, squares, share = 0.0, 0.0, 0.0
            for i in range(begin[g], begin[g + 1]):
                left, leverage = y[i], 0.0
                for j in range(columns + 1):
                    left -= design[j, i] * along[j]
                    leverage += design[j, i] * design[j, i]
                ui = design[columns, i]
                free += 1 - leverage
                share += ui * ui
                squares += left * left
                third += ui * ui * ui * left * left * left
            if free > 0.5:
                part = share * squares / free
                sum_squares += part
                spread += part * part / free
            elif share > 1e-8:
                enough = False
        total = here - rank
        if not enough or total < 2 or sum_squares <= 1e-30:
            continue
        root = math.sqrt(sum_squares)
        contrast[v] = along[columns]
        t[v] = along[columns] / root
        dof[v] = sum_squares * sum_squares / spread
        skew[v] = third / (sum_squares * root) * here * here / (total * (total - 1.0))
        raw = 0.0
        here = 0
        for i in range(people):
            if present[source[i], v]:
                raw += x[i] * design[columns, here]
                here += 1
        norm[v] = raw


@njit(cache=True, nogil=True)
def z_of(t, dof, skew, pooled, own, stretch, z):
    """z of t, after its skewness is taken out (Hall 1992); and of dof degrees of freedom (Wallace 1959, monotone in t).

    The skewness that is taken out is own times the voxel's and 1 - own times `pooled`; none for own < 0. stretch (voxels,):
    sqrt(people / degrees of freedom). z may be t.
    """
    for v in range(t.size):
        value, df = np.float64(t[v]), np.float64(dof[v])
        if own >= 0:
            kappa = own * skew[v] + (1 - own) * pooled
            s = value * stretch[v]
            value = (s + kappa * s * s / 3 + kappa * kappa * s * s * s / 27 + kappa / 6) / stretch[v] if value != 0 else 0.0
        size = math.sqrt(df * math.log1p(value * value / df)) * (8 * df + 1) / (8 * df + 3)
        z[v] = size if value > 0 else -size


@njit(cache=True, nogil=True)
def compare(z, bound, two_sided, exceeded):
    """Add 1 to `exceeded` where z (or |z|) reaches the bound, and return the largest."""
    largest = np.float32(-np.inf)
    for v in range(z.size):
        value = abs(z[v]) if two_sided else z[v]
        largest = max(largest, value)
        if value >= bound[v]:
            exceeded[v] += 1
    return largest
