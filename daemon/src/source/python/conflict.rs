//! Which requirements contradict each other: a smallest set, found by asking again with fewer.
//!
//! Satisfiability is monotone (more lines never help), so the shortest prefix that fails ends in a
//! guilty line; with that line held, the shortest prefix that fails ends in the next one, and so on.
//! Each guilty line costs `log2(n)` questions. As lines stand in order of precedence, the
//! last of the set is the latest that could have been left out.

/// Questions asked at most; one takes about 100 ms where uv's cache can answer it. Beyond it the set is told as
/// found so far, which may lack lines but accuses none wrongly.
const MOST_QUESTIONS: usize = 64;

/// The search for a smallest unsatisfiable set among lines that are unsatisfiable together. It decides
/// what to ask; the caller asks.
#[derive(Debug)]
pub(super) struct Minimal {
    /// Lines known to be guilty, in rising order.
    guilty: Vec<usize>,
    /// The shortest prefix that fails with the guilty ones is not below `low`, and `high` fails.
    low: usize,
    high: usize,
    asked: usize,
}

impl Minimal {
    /// Begins the search among `count` lines.
    pub(super) fn new(count: usize) -> Self {
        Self { guilty: Vec::new(), low: usize::from(count > 0), high: count, asked: 0 }
    }

    /// Returns the lines that are to be tried together next; none when the search is over.
    pub(super) fn question(&mut self) -> Option<Vec<usize>> {
        while self.low == self.high && self.high > 0 {
            let next = self.high - 1;
            self.guilty.insert(0, next);
            (self.low, self.high) = (0, next);
        }
        if self.high == 0 || self.asked == MOST_QUESTIONS {
            return None;
        }
        self.asked += 1;
        Some((0..self.middle()).chain(self.guilty.iter().copied()).collect())
    }

    /// Takes the answer to the last question.
    pub(super) fn answer(&mut self, is_unsatisfiable: bool) {
        let middle = self.middle();
        if is_unsatisfiable {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
    }

    /// Returns the guilty lines, in rising order.
    pub(super) fn found(self) -> Vec<usize> {
        self.guilty
    }

    fn middle(&self) -> usize {
        usize::midpoint(self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: usize, conflicts: &[&[usize]]) -> (Vec<usize>, usize) {
        let mut search = Minimal::new(count);
        let mut asked = 0;
        while let Some(chosen) = search.question() {
            asked += 1;
            search.answer(conflicts.iter().any(|set| set.iter().all(|line| chosen.contains(line))));
        }
        (search.found(), asked)
    }

    #[test]
    fn the_set_is_smallest_and_the_earliest_that_fails() {
        assert_eq!(found(100, &[&[17, 42]]).0, [17, 42]);
        assert_eq!(found(100, &[&[17, 42], &[3, 90]]).0, [17, 42]);
        assert_eq!(found(5, &[&[0, 1, 2, 3, 4]]).0, [0, 1, 2, 3, 4]);
        assert_eq!(found(9, &[&[8]]).0, [8]);
        assert_eq!(found(1, &[&[0]]).0, [0]);
        assert_eq!(found(0, &[&[]]).0, [0_usize; 0]);
    }

    #[test]
    fn few_questions_are_asked() {
        assert!(found(128, &[&[5, 100]]).1 <= 24);
    }
}
