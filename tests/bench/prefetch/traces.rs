//! Histories of uses, each drawn from a law of its own by dice that a seed makes.

/// How many versions there are.
pub(crate) const VERSIONS: usize = 30;

/// One use.
pub(crate) struct Use {
    /// When, in seconds.
    pub(crate) at: i64,
    /// Which version, by its number.
    pub(crate) version: usize,
    /// How likely each version was, by the law; empty where there is none.
    pub(crate) law: Vec<f64>,
}

/// A kind of history.
pub(crate) struct Trace {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Whether its law holds for long enough to be learnt: then a goal compares with the oracle.
    pub(crate) is_lawful: bool,
    draw: fn(&mut Dice, usize) -> Vec<Use>,
}

/// All of them.
pub(crate) const TRACES: [Trace; 6] = [
    Trace { name: "Zipf", is_lawful: true, draw: favourites },
    Trace { name: "Markov chain", is_lawful: true, draw: chain },
    Trace { name: "day and night", is_lawful: true, draw: day_and_night },
    Trace { name: "drift", is_lawful: true, draw: drift },
    Trace { name: "releases", is_lawful: false, draw: releases },
    Trace { name: "adversarial", is_lawful: false, draw: adversarial },
];

impl Trace {
    /// Draws so many uses.
    pub(crate) fn draw(&self, seed: u64, length: usize) -> Vec<Use> {
        (self.draw)(&mut Dice(seed), length)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / (f64::from(u32::MAX) + 1.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn pick(&mut self, law: &[f64]) -> usize {
        let mut left = self.share() * law.iter().sum::<f64>();
        let found = law.iter().position(|share| {
            left -= share;
            left < 0.0
        });
        found.unwrap_or(law.len() - 1)
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|last| order.swap(last, self.below(last + 1)));
        order
    }

    /// Seconds until the next use: a quarter of an hour or so, and more than what counts as one use.
    fn pause(&mut self) -> i64 {
        let minutes = (0..15).filter(|_| self.share() < 0.5).count();
        61 + 120 * i64::try_from(minutes).unwrap() + i64::try_from(self.below(120)).unwrap()
    }
}

/// Shares that fall with the rank, by Zipf's law.
fn zipf(count: usize, exponent: f64) -> Vec<f64> {
    let ranks = (1..=u32::try_from(count).unwrap()).map(f64::from);
    let weights: Vec<f64> = ranks.map(|rank| rank.powf(-exponent)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Gives the versions in `order` their shares; the others have none.
fn law(order: &[usize], shares: &[f64]) -> Vec<f64> {
    let mut law = vec![0.0; VERSIONS];
    order.iter().zip(shares).for_each(|(version, share)| law[*version] = *share);
    law
}

/// Leaves `share` of a law to all versions alike.
fn blur(law: &mut [f64], share: f64) {
    let even = share / f64::from(u32::try_from(law.len()).unwrap());
    for cell in law {
        *cell = *cell * (1.0 - share) + even;
    }
}

/// Draws uses, each from the law that `law` gives for its number and time, and for the version before.
fn uses(
    dice: &mut Dice,
    length: usize,
    mut law: impl FnMut(&mut Dice, usize, i64, usize) -> Vec<f64>,
) -> Vec<Use> {
    let (mut at, mut version) = (0, 0);
    let draw = |number| {
        at += dice.pause();
        let law = law(dice, number, at, version);
        version = dice.pick(&law);
        Use { at, version, law }
    };
    (0..length).map(draw).collect()
}

/// Some versions are used more than others, whatever came before.
fn favourites(dice: &mut Dice, length: usize) -> Vec<Use> {
    let law = law(&dice.order(VERSIONS), &zipf(VERSIONS, 1.0));
    uses(dice, length, |_, _, _, _| law.clone())
}

/// Each version has three that mostly follow it.
fn chain(dice: &mut Dice, length: usize) -> Vec<Use> {
    let row = |_| {
        let mut row = law(&dice.order(VERSIONS), &[0.63, 0.26, 0.11]);
        blur(&mut row, 0.05);
        row
    };
    let rows: Vec<_> = (0..VERSIONS).map(row).collect();
    uses(dice, length, |_, _, _, before| rows[before].clone())
}

/// Eight versions from eight to eight, eight others in the night, and anything now and then.
fn day_and_night(dice: &mut Dice, length: usize) -> Vec<Use> {
    let order = dice.order(VERSIONS);
    let halves = [&order[..8], &order[8..16]].map(|order| {
        let mut law = law(order, &zipf(8, 1.0));
        blur(&mut law, 0.1);
        law
    });
    uses(dice, length, |_, _, at, _| {
        let is_day = (8..20).contains(&(at % 86_400 / 3_600));
        halves[usize::from(!is_day)].clone()
    })
}

/// Every hundred uses some version becomes one of the three that are used most.
fn drift(dice: &mut Dice, length: usize) -> Vec<Use> {
    let (mut order, shares) = (dice.order(VERSIONS), zipf(VERSIONS, 1.2));
    uses(dice, length, |dice, number, _, _| {
        if number % 100 == 99 {
            let version = order.remove(dice.below(VERSIONS));
            order.insert(dice.below(3), version);
        }
        law(&order, &shares)
    })
}

/// Three times a new version comes out and takes half of all uses.
fn releases(dice: &mut Dice, length: usize) -> Vec<Use> {
    let (order, shares) = (dice.order(VERSIONS), zipf(12, 1.0));
    uses(dice, length, |_, number, _, _| {
        let mut law = law(&order, &shares);
        for release in 0..number * 4 / length {
            for share in &mut law {
                *share /= 2.0;
            }
            law[order[12 + release]] += 0.5;
        }
        law
    })
}

/// Stretches of 250 uses, each the worst for someone: a loop (for who keeps the latest), favourites that change
/// (for who counts), the next by the last two (for who looks at one), scans through all others, and chance.
fn adversarial(dice: &mut Dice, length: usize) -> Vec<Use> {
    const STRETCH: usize = 250;
    let mut order = Vec::new();
    let (mut rule, mut last, mut scanned) = (Vec::new(), (0, 1), 0);
    let mut next = |dice: &mut Dice, number: usize| {
        let step = number % STRETCH;
        if step == 0 {
            order = dice.order(VERSIONS);
            rule = (0..36).map(|_| dice.below(6)).collect();
        }
        match number / STRETCH % 5 {
            0 => order[step % 6],
            1 => order[step / 60 % 4],
            2 => {
                let slip = usize::from(dice.share() < 0.1);
                last = (last.1, (rule[last.0 * 6 + last.1] + slip) % 6);
                order[last.1]
            }
            3 if step % 3 == 2 => {
                scanned += 1;
                scanned % VERSIONS
            }
            3 => order[step % 3],
            _ => order[dice.pick(&zipf(8, 1.0))],
        }
    };
    let mut at = 0;
    let draw = |number| {
        at += dice.pause();
        Use { at, version: next(dice, number), law: Vec::new() }
    };
    (0..length).map(draw).collect()
}
