//! Average linkage on cosine distance: decides which rows belong together.

use std::sync::Mutex;

use kodama::{Dendrogram, Method};

use super::silhouette::{self, Merge};
use whetstone_domain::cluster::ThresholdFrom;

/// The number of rows that are interleaved in memory, so that the distances of one row to all of them are computed
/// together.
const PANEL: usize = 8;

/// The number of rows of a panel that are multiplied with another panel together: as many as fit into the registers.
const TILE: usize = 4;

/// The maximum number of groups that are merged pairwise. If there are more, they are first merged along the dendrogram.
const MAX_PAIRWISE: usize = 512;

/// Vectors of unit length. All vectors without a direction (zero, or not finite) share an extra dimension.
///
/// They are stored in panels of [`PANEL`] rows, the last one padded with zeros: the first numbers of all its rows, then the
/// second ones, and so on.
pub(super) struct UnitRows {
    values: Vec<[f32; PANEL]>,
    dimensions: usize,
    rows: usize,
}

impl UnitRows {
    pub(super) fn of<'a>(vectors: impl ExactSizeIterator<Item = &'a [f32]> + Clone) -> Self {
        let rows = vectors.len();
        let width = vectors.clone().map(<[f32]>::len).max().unwrap_or(0);
        let dimensions = width + 1;
        let mut values = vec![[0.0; PANEL]; rows.div_ceil(PANEL) * dimensions];
        for (row, vector) in vectors.enumerate() {
            let panel = &mut values[row / PANEL * dimensions..][..dimensions];
            let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            if length.is_finite() && length > 0.0 {
                for (value, unit) in vector.iter().zip(panel) {
                    unit[row % PANEL] = (f64::from(*value) / length) as f32;
                }
            } else {
                panel[width][row % PANEL] = 1.0;
            }
        }
        Self { values, dimensions, rows }
    }

    fn panel(&self, index: usize) -> &[[f32; PANEL]] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }

    fn row(&self, index: usize) -> impl Iterator<Item = f64> {
        self.panel(index / PANEL).iter().map(move |values| f64::from(values[index % PANEL]))
    }

    /// For each group sum, its products with all rows.
    pub(super) fn products_with(&self, sums: &[Vec<f64>]) -> Vec<Vec<f32>> {
        let sums = UnitRows::panels(sums.iter().map(|sum| sum.iter().map(|value| *value as f32)), self.dimensions);
        let mut found = vec![vec![0.0; self.rows]; sums.rows];
        for other in 0..sums.rows.div_ceil(PANEL) {
            let groups = &mut found[other * PANEL..((other + 1) * PANEL).min(sums.rows)];
            for panel in 0..self.rows.div_ceil(PANEL) {
                for tile in 0..PANEL / TILE {
                    let products = products(sums.panel(other), tile * TILE, self.panel(panel));
                    let rows = panel * PANEL..((panel + 1) * PANEL).min(self.rows);
                    for (group, products) in groups.iter_mut().skip(tile * TILE).zip(&products) {
                        for (row, product) in rows.clone().zip(products) {
                            group[row] = *product;
                        }
                    }
                }
            }
        }
        found
    }

    /// Stores rows in panels without changing them.
    fn panels(rows: impl ExactSizeIterator<Item = impl Iterator<Item = f32>>, dimensions: usize) -> Self {
        let count = rows.len();
        let mut values = vec![[0.0; PANEL]; count.div_ceil(PANEL) * dimensions];
        for (row, vector) in rows.enumerate() {
            let panel = &mut values[row / PANEL * dimensions..][..dimensions];
            for (value, place) in vector.zip(panel) {
                place[row % PANEL] = value;
            }
        }
        Self { values, dimensions, rows: count }
    }

    /// The sum of the rows of a group.
    pub(super) fn sum(&self, group: &[usize]) -> Vec<f64> {
        let mut sum = vec![0.0; self.dimensions];
        for index in group {
            for (total, value) in sum.iter_mut().zip(self.row(*index)) {
                *total += value;
            }
        }
        sum
    }

    /// The members of a group, nearest to their mean first.
    pub(super) fn nearest_to_centre_first(&self, group: &[usize]) -> Vec<usize> {
        let centre = self.sum(group);
        let similarity = |index: usize| -> f64 { self.row(index).zip(&centre).map(|(a, b)| a * b).sum() };
        let mut ranked: Vec<(usize, f64)> = group.iter().map(|index| (*index, similarity(*index))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.into_iter().map(|(index, _)| index).collect()
    }

    /// The cosine distances of all pairs in condensed form: row by row, only the columns above the diagonal. The work is
    /// split among threads, and the numbers do not depend on how many there are.
    fn distances(&self) -> Vec<f32> {
        let mut condensed = vec![0.0; self.rows * self.rows.saturating_sub(1) / 2];
        let mut work = Vec::new();
        let mut rest = condensed.as_mut_slice();
        for start in (0..self.rows).step_by(PANEL) {
            let mut lines = Vec::with_capacity(PANEL);
            for row in start..(start + PANEL).min(self.rows) {
                let (line, behind) = rest.split_at_mut(self.rows - row - 1);
                lines.push(line);
                rest = behind;
            }
            work.push((start / PANEL, lines));
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(work.len());
        // The lines get shorter. They are popped from the back, so the long ones come first.
        work.reverse();
        let work = Mutex::new(work);
        let next = || work.lock().ok().and_then(|mut work| work.pop());
        let run = || {
            while let Some((panel, lines)) = next() {
                self.fill(panel, lines);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(run);
            }
            run();
        });
        condensed
    }

    /// Fills the condensed lines of the rows of a panel.
    fn fill(&self, panel: usize, mut lines: Vec<&mut [f32]>) {
        for (tile, lines) in lines.chunks_mut(TILE).enumerate() {
            let first_row = panel * PANEL + tile * TILE;
            for other in panel..self.rows.div_ceil(PANEL) {
                let products = products(self.panel(panel), tile * TILE, self.panel(other));
                let columns = other * PANEL..((other + 1) * PANEL).min(self.rows);
                for ((row, line), products) in (first_row..).zip(lines.iter_mut()).zip(&products) {
                    for (column, product) in columns.clone().zip(products).filter(|(column, _)| *column > row) {
                        line[column - row - 1] = (1.0 - product).clamp(0.0, 2.0);
                    }
                }
            }
        }
    }
}

/// The dot products of [`TILE`] rows of a panel, starting at `first`, with all rows of another. The order of additions is
/// fixed.
fn products(panel: &[[f32; PANEL]], first: usize, other: &[[f32; PANEL]]) -> [[f32; PANEL]; TILE] {
    let mut sums = [[0.0; PANEL]; TILE];
    for (values, other) in panel.iter().zip(other) {
        for (sum, value) in sums.iter_mut().zip(&values[first..first + TILE]) {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += value * other;
            }
        }
    }
    sums
}

/// Grouped rows, and the similarity at which two groups were merged.
pub(super) struct Groups {
    /// The groups, each with its rows in ascending order, in the order of their first rows.
    pub(super) groups: Vec<Vec<usize>>,
    pub(super) threshold: f64,
    pub(super) from: ThresholdFrom,
    pub(super) silhouette: Option<f64>,
}

/// The groups at a given threshold, else at the best one, else at `default` if no threshold separates them better than
/// others.
pub(super) fn groups(rows: &UnitRows, threshold: Option<f64>, default: f64, max_groups: usize) -> Groups {
    let (value, from) = match threshold {
        Some(value) => (value, ThresholdFrom::Spec),
        None => (default, ThresholdFrom::Default),
    };
    if rows.rows < 2 {
        let groups = (0..rows.rows).map(|row| vec![row]).collect();
        return Groups { groups, threshold: value, from, silhouette: None };
    }
    let dendrogram = kodama::linkage(&mut rows.distances(), rows.rows, Method::Average);
    let cut = match threshold {
        Some(_) => None,
        None => silhouette::best_cut(rows, &merges(&dendrogram)),
    };
    // Distances are sums of f32: differences below their rounding do not separate groups.
    let limit = 1.0 - value + 1e-6;
    let alike = match cut {
        Some(cut) => cut.merges,
        None => dendrogram.steps().iter().take_while(|step| f64::from(step.dissimilarity) <= limit).count(),
    };
    let fewest_pairwise = rows.rows.saturating_sub(MAX_PAIRWISE.max(max_groups));
    let groups = merged(&dendrogram, alike.max(fewest_pairwise));
    match cut {
        Some(cut) => Groups {
            groups,
            threshold: cut.similarity,
            from: ThresholdFrom::Silhouette,
            silhouette: Some(cut.silhouette),
        },
        None => Groups { groups, threshold: value, from, silhouette: None },
    }
}

fn merges(dendrogram: &Dendrogram<f32>) -> Vec<Merge> {
    let merge = |step: &kodama::Step<f32>| Merge {
        pair: [step.cluster1, step.cluster2],
        similarity: 1.0 - f64::from(step.dissimilarity),
    };
    dendrogram.steps().iter().map(merge).collect()
}

/// The groups after this many steps.
fn merged(dendrogram: &Dendrogram<f32>, steps: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = (0..dendrogram.observations()).map(|row| vec![row]).collect();
    for step in &dendrogram.steps()[..steps] {
        let mut union = std::mem::take(&mut groups[step.cluster1]);
        union.append(&mut groups[step.cluster2]);
        groups.push(union);
    }
    groups.retain(|group| !group.is_empty());
    in_order(groups)
}

/// Merges groups until at most `max_groups` are left: at each step the pair with the least mean distance, weighted as by
/// Ward (1963). With sums of unit vectors s and sizes n, the mean similarity of two groups is s₁·s₂ / (n₁ n₂).
pub(super) fn fold(rows: &UnitRows, mut groups: Vec<Vec<usize>>, max_groups: usize) -> Vec<Vec<usize>> {
    if groups.len() <= max_groups {
        return groups;
    }
    let mut sums: Vec<Vec<f64>> = groups.iter().map(|group| rows.sum(group)).collect();
    let cost = |(sum, group): (&Vec<f64>, &Vec<usize>), (other_sum, other): (&Vec<f64>, &Vec<usize>)| {
        let (size, other_size) = (group.len() as f64, other.len() as f64);
        let dot: f64 = sum.iter().zip(other_sum).map(|(a, b)| a * b).sum();
        (size * other_size - dot) / (size + other_size)
    };
    let mut costs: Vec<Vec<f64>> = (0..groups.len())
        .map(|a| (0..a).map(|b| cost((&sums[a], &groups[a]), (&sums[b], &groups[b]))).collect())
        .collect();
    while groups.len() > max_groups {
        let pairs =
            costs.iter().enumerate().flat_map(|(a, row)| row.iter().enumerate().map(move |(b, cost)| (*cost, b, a)));
        let Some((_, into, from)) = pairs.min_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2)))) else {
            break;
        };
        let (group, sum) = (groups.remove(from), sums.remove(from));
        groups[into].extend(group);
        sums[into].iter_mut().zip(sum).for_each(|(total, value)| *total += value);
        costs.remove(from);
        for row in &mut costs[from..] {
            row.remove(from);
        }
        for other in (0..groups.len()).filter(|other| *other != into) {
            let (low, high) = (into.min(other), into.max(other));
            costs[high][low] = cost((&sums[high], &groups[high]), (&sums[low], &groups[low]));
        }
    }
    in_order(groups)
}

fn in_order(mut groups: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.sort_unstable();
    groups
}
