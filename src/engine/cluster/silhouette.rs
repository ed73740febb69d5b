//! The silhouette: finds the similarity at which groups are best separated.

use super::linkage::UnitRows;

/// The maximum number of groups of a cut. With more, the groups are too small to mean anything.
const MAX_GROUPS: usize = 96;

/// Rows that are at least this similar are merged in any case: they differ in words, not in causes.
const SURELY_ALIKE: f64 = 0.72;

/// Below this mean silhouette there are no separate groups. (Kaufman & Rousseeuw 1990 call less than 0.25 "no substantial
/// structure" for measured quantities; short texts never reach that, and groups with one cause are between 0.1 and 0.2.)
const MIN_SILHOUETTE: f64 = 0.06;

/// A cut of a dendrogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// The number of merges below it.
    pub(super) merges: usize,
    /// Its similarity: halfway between the last merge and the next.
    pub(super) similarity: f64,
    /// The mean silhouette of the groups.
    pub(super) silhouette: f64,
}

/// One step of a dendrogram: the two groups that are merged, as positions in the list of all groups (first the rows, then
/// one for each step), and their similarity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merge {
    pub(super) pair: [usize; 2],
    pub(super) similarity: f64,
}

/// The cut with the highest mean silhouette (Rousseeuw 1987) of cosine distances; `None` if no cut separates the groups.
/// The merges must be in order, most similar first.
///
/// With unit rows, the mean distance of a row to a group is 1 − row · sum / size, so pairs need not be compared again: a
/// table of the products of rows and groups is computed once, and a merge adds two of its columns.
pub(super) fn best_cut(rows: &UnitRows, merges: &[Merge]) -> Option<Cut> {
    let count = merges.len() + 1;
    let first = merges
        .iter()
        .take_while(|merge| merge.similarity >= SURELY_ALIKE)
        .count()
        .max(count.saturating_sub(MAX_GROUPS));
    let mut table = Table::after(rows, merges, first);
    let mut best: Option<Cut> = None;
    for merged in first..merges.len() {
        // A cut cannot lie between merges with the same similarity.
        let below = merged.checked_sub(1).map_or(1.0, |last| merges[last].similarity);
        if below > merges[merged].similarity + 1e-9 && merged > 0 {
            let silhouette = table.silhouette();
            if best.is_none_or(|best| silhouette > best.silhouette) {
                let similarity = f64::midpoint(below, merges[merged].similarity);
                best = Some(Cut { merges: merged, similarity, silhouette });
            }
        }
        table.merge(merges[merged].pair, count + merged);
    }
    best.filter(|best| best.silhouette >= MIN_SILHOUETTE)
}

/// The products of all rows with the sums of all groups.
struct Table {
    /// The groups: their number in the dendrogram, and their size.
    groups: Vec<(usize, usize)>,
    /// By row: the place of its group.
    of_row: Vec<usize>,
    /// By group: its product with each row.
    products: Vec<Vec<f32>>,
}

impl Table {
    fn after(rows: &UnitRows, merges: &[Merge], first: usize) -> Self {
        let count = merges.len() + 1;
        let mut members: Vec<Vec<usize>> = (0..count).map(|row| vec![row]).collect();
        for Merge { pair: [a, b], .. } in &merges[..first] {
            let mut union = std::mem::take(&mut members[*a]);
            union.append(&mut members[*b]);
            members.push(union);
        }
        let groups: Vec<(usize, Vec<usize>)> =
            members.into_iter().enumerate().filter(|(_, members)| !members.is_empty()).collect();
        let mut of_row = vec![0; count];
        for (place, (_, members)) in groups.iter().enumerate() {
            for row in members {
                of_row[*row] = place;
            }
        }
        let sums: Vec<Vec<f64>> = groups.iter().map(|(_, members)| rows.sum(members)).collect();
        let products = rows.products_with(&sums);
        Self { groups: groups.iter().map(|(number, members)| (*number, members.len())).collect(), of_row, products }
    }

    fn merge(&mut self, pair: [usize; 2], number: usize) {
        let place = |wanted: usize| self.groups.iter().position(|(number, _)| *number == wanted);
        let (Some(a), Some(b)) = (place(pair[0]), place(pair[1])) else { return };
        let (into, from) = (a.min(b), a.max(b));
        let gone = self.products.swap_remove(from);
        for (total, product) in self.products[into].iter_mut().zip(gone) {
            *total += product;
        }
        let (_, size) = self.groups.swap_remove(from);
        self.groups[into] = (number, self.groups[into].1 + size);
        let moved = self.groups.len();
        for group in &mut self.of_row {
            if *group == from {
                *group = into;
            } else if *group == moved {
                *group = from;
            }
        }
    }

    /// The mean silhouette. The silhouette of a row that is alone is 0.
    fn silhouette(&self) -> f64 {
        let mut nearest = vec![f32::INFINITY; self.of_row.len()];
        let mut own = vec![0.0_f32; self.of_row.len()];
        for (place, ((_, size), products)) in self.groups.iter().zip(&self.products).enumerate() {
            let size = *size as f32;
            for (row, product) in products.iter().enumerate() {
                if self.of_row[row] == place {
                    own[row] = if size > 1.0 { (size - product).max(0.0) / (size - 1.0) } else { f32::NAN };
                } else {
                    nearest[row] = nearest[row].min(1.0 - product / size);
                }
            }
        }
        let silhouettes = own.iter().zip(&nearest).map(|(own, nearest)| {
            let larger = own.max(*nearest);
            if own.is_nan() || !nearest.is_finite() || larger <= 1e-6 {
                0.0
            } else {
                f64::from((nearest - own) / larger)
            }
        });
        silhouettes.sum::<f64>() / self.of_row.len() as f64
    }
}
