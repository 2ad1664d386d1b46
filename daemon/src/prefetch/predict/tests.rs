use super::*;
use proptest::prelude::*;

/// Uses ten minutes apart.
fn uses(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Request> {
    let version = |(at, name): (i64, _)| Request { at, version: id(AsRef::<str>::as_ref(&name)) };
    (0..).step_by(600).zip(names).map(version).collect()
}

fn id(name: &str) -> VersionId {
    VersionId::new(name).unwrap()
}

fn first(history: &[Request], now: i64) -> Likely {
    likely(history, now).remove(0)
}

fn after(history: &[Request]) -> i64 {
    history.last().unwrap().at + 60
}

#[test]
fn nothing_is_likely_where_nothing_was_asked_for() {
    assert_eq!(likely(&[], 0), []);
}

#[test]
fn one_that_was_asked_for_once_is_likely_and_not_certain() {
    let likely = likely(&uses(["a"]), 60);
    assert_eq!(likely.len(), 1);
    assert!((0.4..0.95).contains(&likely[0].probability), "{likely:?}");
    assert_eq!(likely[0].why, "asked for once");
}

#[test]
fn a_favourite_comes_first() {
    let history =
        uses((0..60).map(|number| if number % 3 == 2 { format!("x{number}") } else { "a".to_owned() }));
    let found = first(&history, after(&history));
    assert_eq!(found.version, id("a"));
    assert!((0.5..0.9).contains(&found.probability), "{found:?}");
    assert_eq!(found.why, "asked for 40 times in the last 60 uses");
}

#[test]
fn what_always_follows_comes_first_and_it_is_said_why() {
    let history = uses("a b c d ".repeat(20).split_whitespace());
    let found = first(&history, after(&history));
    assert_eq!((found.version, found.why.as_str()), (id("a"), "followed `d` 19 of 19 times"));
    assert!(found.probability > 0.8);
}

#[test]
fn the_two_before_count_where_one_does_not_tell() {
    // After `b` comes `c` or `d`, each as often; before it was `a` or `x`.
    let words = (0..80_u32)
        .map(|number| if number.wrapping_mul(2_654_435_761) >> 31 == 0 { "a b c" } else { "x b d" });
    let mut history = uses(words.flat_map(str::split_whitespace));
    history.extend(uses(["x", "b"]));
    assert_eq!(first(&history, 0).version, id("d"));
}

#[test]
fn a_new_favourite_is_found_within_a_few_uses() {
    let history = uses((0..500).map(|number| if number < 490 && number % 2 == 0 { "old" } else { "new" }));
    assert_eq!(first(&history[..490], after(&history[..490])).version, id("old"));
    assert_eq!(first(&history, after(&history)).version, id("new"));
}

#[test]
fn the_time_of_day_counts() {
    let at = |day: i64, minutes: i64| day * 86_400 + minutes * 60;
    let day = |day| {
        let morning = (0..6).map(move |number| (at(day, 9 * 60 + number * 20), "work"));
        morning.chain((0..6).map(move |number| (at(day, 21 * 60 + number * 20), "play")))
    };
    let history: Vec<_> = (0..20).flat_map(day).map(|(at, name)| Request { at, version: id(name) }).collect();
    let (morning, evening) = (first(&history, at(20, 9 * 60 + 30)), first(&history, at(20, 21 * 60 + 30)));
    assert_eq!((morning.version, evening.version), (id("work"), id("play")));
    assert_eq!(morning.why, "often asked for at this time of day");
}

#[test]
fn a_version_more_than_are_known_takes_the_place_of_the_oldest() {
    // Nothing is known to follow `a` any more when its only follower goes.
    let others = (2..MOST).map(|number| format!("v{number}"));
    let history = ["a", "oldest"].map(str::to_owned).into_iter().chain(others);
    let history = uses(history.chain(["a", "new"].map(str::to_owned)));
    let likely = likely(&history, after(&history));
    assert_eq!(likely.len(), MOST);
    assert!(likely.iter().all(|it| it.version != id("oldest") && it.probability > 0.0), "{likely:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn probabilities_are_probabilities(
        steps in prop::collection::vec((any::<i64>(), 0..200_u8), 0..300),
        now in any::<i64>(),
    ) {
        let request = |(at, number): (i64, u8)| Request { at, version: id(&format!("v{number}")) };
        let history: Vec<_> = steps.into_iter().map(request).collect();
        let likely = likely(&history, now);
        prop_assert!(likely.iter().all(|it| it.probability > 0.0), "{:?}", likely);
        prop_assert!(likely.iter().map(|it| it.probability).sum::<f64>() < 1.0 + 1e-9);
        prop_assert!(likely.is_sorted_by(|a, b| a.probability >= b.probability));
    }
}
