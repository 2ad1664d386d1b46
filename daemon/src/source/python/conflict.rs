//! Which requirements contradict each other: a smallest set, found by asking again with fewer.
//!
//! Satisfiability is monotone (more lines never help), so the shortest prefix that fails ends in a
//! guilty line; with that line held, the shortest prefix that fails ends in the next one, and so on.
//! Each guilty line costs `log2(n)` questions. As lines stand in order of precedence, the
//! last of the set is the latest that could have been left out.

/// Questions asked at most; one takes about 100 ms where uv's cache can answer it. Beyond it the set is told as
/// found so far, which may lack lines but accuses none wrongly.
const MOST_QUESTIONS: usize = 64;

/// Returns the places of a smallest unsatisfiable set among `count` lines, in rising order, given
/// that all of them together are unsatisfiable.
pub(super) async fn minimal<E>(
    count: usize,
    mut is_unsatisfiable: impl AsyncFnMut(&[usize]) -> Result<bool, E>,
) -> Result<Vec<usize>, E> {
    let mut guilty: Vec<usize> = Vec::new();
    let mut pool = count;
    let mut asked = 0;
    loop {
        // The shortest prefix that fails is not below `low`, and `high` fails.
        let (mut low, mut high) = (usize::from(guilty.is_empty()), pool);
        while low < high {
            if asked == MOST_QUESTIONS {
                return Ok(guilty);
            }
            asked += 1;
            let middle = usize::midpoint(low, high);
            let chosen: Vec<usize> = (0..middle).chain(guilty.iter().copied()).collect();
            if is_unsatisfiable(&chosen).await? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if high == 0 {
            return Ok(guilty);
        }
        pool = high - 1;
        guilty.insert(0, pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn found(count: usize, conflicts: &[&[usize]]) -> (Vec<usize>, usize) {
        let mut asked = 0;
        let ask = async |chosen: &[usize]| {
            asked += 1;
            Ok::<_, Infallible>(conflicts.iter().any(|set| set.iter().all(|line| chosen.contains(line))))
        };
        let Ok(guilty) = minimal(count, ask).await;
        (guilty, asked)
    }

    #[tokio::test]
    async fn the_set_is_smallest_and_the_earliest_that_fails() {
        assert_eq!(found(100, &[&[17, 42]]).await.0, [17, 42]);
        assert_eq!(found(100, &[&[17, 42], &[3, 90]]).await.0, [17, 42]);
        assert_eq!(found(5, &[&[0, 1, 2, 3, 4]]).await.0, [0, 1, 2, 3, 4]);
        assert_eq!(found(9, &[&[8]]).await.0, [8]);
        assert_eq!(found(1, &[&[0]]).await.0, [0]);
        assert_eq!(found(0, &[&[]]).await.0, [0_usize; 0]);
    }

    #[tokio::test]
    async fn few_questions_are_asked() {
        assert!(found(128, &[&[5, 100]]).await.1 <= 24);
    }
}
