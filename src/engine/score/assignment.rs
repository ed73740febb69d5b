//! The assignment problem: pairs rows with columns, each at most once, at the least total cost.

/// The cost of a pair that is not allowed.
pub(super) const NEVER: i128 = 1 << 120;

/// For each row the column that it is paired with, at the least total cost; `None` if no allowed column is left. As many
/// rows as possible are paired. All rows must have the same length. Costs must not be negative, and must be far below
/// [`NEVER`]. The result is deterministic.
///
/// The Hungarian method with potentials, O(rows² × columns) (Kuhn 1955; Jonker & Volgenant 1987).
pub(super) fn assign(costs: &[Vec<i128>]) -> Vec<Option<usize>> {
    let rows = costs.len();
    let columns = costs.first().map_or(0, Vec::len).max(rows);
    let cost = |row: usize, column: usize| costs[row].get(column).copied().unwrap_or(NEVER);
    // Index 0 of both sides is a sentinel, so row 0 means "free".
    let mut row_potential = vec![0i128; rows + 1];
    let mut column_potential = vec![0i128; columns + 1];
    let mut row_of = vec![0usize; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut current = 0;
        let mut least = vec![i128::MAX; columns + 1];
        let mut previous = vec![0usize; columns + 1];
        let mut visited = vec![false; columns + 1];
        while row_of[current] != 0 {
            visited[current] = true;
            let from = row_of[current];
            let (mut delta, mut next) = (i128::MAX, 0);
            for column in (1..=columns).filter(|&column| !visited[column]) {
                let reduced = cost(from - 1, column - 1) - row_potential[from] - column_potential[column];
                if reduced < least[column] {
                    least[column] = reduced;
                    previous[column] = current;
                }
                if least[column] < delta {
                    delta = least[column];
                    next = column;
                }
            }
            for column in 0..=columns {
                if visited[column] {
                    row_potential[row_of[column]] += delta;
                    column_potential[column] -= delta;
                } else if least[column] != i128::MAX {
                    least[column] -= delta;
                }
            }
            current = next;
        }
        while current != 0 {
            row_of[current] = row_of[previous[current]];
            current = previous[current];
        }
    }
    let mut pairs = vec![None; rows];
    for (column, &row) in row_of[1..].iter().enumerate() {
        if row > 0 && cost(row - 1, column) < NEVER {
            pairs[row - 1] = Some(column);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(costs: &[Vec<i128>], pairs: &[Option<usize>]) -> i128 {
        pairs.iter().enumerate().map(|(row, column)| column.map_or(NEVER, |column| costs[row][column])).sum()
    }

    fn least_by_trying_all(costs: &[Vec<i128>], row: usize, taken: &mut Vec<usize>) -> i128 {
        if row == costs.len() {
            return 0;
        }
        let mut best = NEVER + least_by_trying_all(costs, row + 1, taken);
        for column in 0..costs[row].len() {
            if costs[row][column] < NEVER && !taken.contains(&column) {
                taken.push(column);
                best = best.min(costs[row][column] + least_by_trying_all(costs, row + 1, taken));
                taken.pop();
            }
        }
        best
    }

    #[test]
    fn a_cheap_pair_is_given_up_when_that_is_cheaper_in_all() {
        assert_eq!(assign(&[vec![0, 1], vec![1, 5]]), [Some(1), Some(0)]);
    }

    #[test]
    fn rows_without_an_allowed_column_stay_alone() {
        assert_eq!(assign(&[]), []);
        assert_eq!(assign(&[vec![], vec![]]), [None, None]);
        assert_eq!(assign(&[vec![NEVER], vec![3]]), [None, Some(0)]);
        assert_eq!(assign(&[vec![1], vec![0]]), [None, Some(0)]);
    }

    proptest! {
        #[test]
        fn no_other_pairing_is_cheaper(
            costs in (1usize..5, 0usize..6).prop_flat_map(|(rows, columns)| {
                let cost = prop_oneof![4 => 0i128..9, 1 => Just(NEVER)];
                prop::collection::vec(prop::collection::vec(cost, columns), rows)
            })
        ) {
            let pairs = assign(&costs);
            let mut columns: Vec<usize> = pairs.iter().flatten().copied().collect();
            let before = columns.len();
            columns.sort_unstable();
            columns.dedup();
            prop_assert_eq!(columns.len(), before);
            prop_assert_eq!(total(&costs, &pairs), least_by_trying_all(&costs, 0, &mut Vec::new()));
        }
    }
}
