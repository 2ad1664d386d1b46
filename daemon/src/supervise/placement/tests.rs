use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const GB: u64 = 1 << 30;

/// What a process keeps after it gave its memory back.
const CONTEXT: u64 = GB / 2;

fn gpu(index: u32, total: u64, free: u64) -> Gpu {
    let (uuid, name) = (format!("GPU-{index}"), "T4".to_owned());
    Gpu { index, uuid, name, total: total * GB, free: free * GB, used_by: BTreeMap::new() }
}

fn on(name: &str, device: Device) -> Resident {
    Resident::idle(name.into(), name.to_owned(), device)
}

fn on_gpu(name: &str, index: u32) -> Resident {
    on(name, Device::Gpu { index })
}

fn picture(gpus: Vec<Gpu>, residents: Vec<Resident>) -> Picture {
    Picture { gpus, residents, max_instances: None, reserve: GB }
}

fn new_one(picture: &Picture) -> Step {
    place(picture, Path::new("new"), Asked::Gpu, 0)
}

#[test]
fn an_empty_gpu_comes_first_then_the_emptiest() {
    let mut all = picture(vec![gpu(0, 24, 24), gpu(1, 24, 20)], vec![on_gpu("a", 0)]);
    assert_eq!(new_one(&all), Step::Go(Device::Gpu { index: 1 }), "it is alone there");
    all.residents.push(on_gpu("b", 1));
    assert_eq!(new_one(&all), Step::Go(Device::Gpu { index: 0 }));
    all.residents.clear();
    assert_eq!(new_one(&all), Step::Go(Device::Gpu { index: 0 }));
    assert_eq!(place(&all, Path::new("new"), Asked::Cpu, 0), Step::Go(Device::Cpu));
    assert_eq!(place(&all, Path::new("new"), Asked::Any, 0), Step::Go(Device::Any));
}

#[test]
fn a_version_goes_where_what_it_held_before_fits() {
    let all = picture(vec![gpu(0, 24, 4), gpu(1, 24, 20)], vec![on_gpu("a", 1)]);
    assert_eq!(new_one(&all), Step::Go(Device::Gpu { index: 0 }));
    assert_eq!(place(&all, Path::new("new"), Asked::Gpu, 10 * GB), Step::Go(Device::Gpu { index: 1 }));
}

#[test]
fn memory_is_asked_for_before_anyone_is_ended_and_the_least_used_first() {
    let old = Resident { idle_ms: 9, ..on_gpu("old", 0) };
    let pinned = Resident { idle_ms: 99, pinned: true, ..on_gpu("pinned", 0) };
    let mut all = picture(vec![gpu(0, 24, 0)], vec![on_gpu("new one", 0), pinned, old]);
    let mut steps = Vec::new();
    for _ in 0..6 {
        let step = new_one(&all);
        match &step {
            Step::Free(home) => {
                all.residents.iter_mut().filter(|one| one.home == *home).for_each(|one| one.freed = true);
            }
            Step::Stop(home) => all.residents.retain(|one| one.home != *home),
            _ => {}
        }
        steps.push(step);
    }
    let free = |name: &str| Step::Free(name.into());
    let stop = |name: &str| Step::Stop(name.into());
    let expected = ["old", "new one", "pinned"];
    assert_eq!(steps[..3], expected.map(free));
    assert_eq!(steps[3..], expected.map(stop));
    assert_eq!(new_one(&all), Step::Go(Device::Gpu { index: 0 }), "other programs have it");
}

#[test]
fn a_claimed_one_gives_its_memory_and_keeps_its_process() {
    let claimed = Resident { claimed: true, ..on_gpu("a", 0) };
    let mut all = picture(vec![gpu(0, 24, 0)], vec![claimed]);
    assert_eq!(new_one(&all), Step::Free("a".into()));
    all.residents[0].freed = true;
    assert_eq!(new_one(&all), Step::Go(Device::Gpu { index: 0 }), "nothing more comes from waiting");
    all.residents[0] = Resident { works: true, ..all.residents[0].clone() };
    assert_eq!(new_one(&all), Step::Wait(vec!["a".to_owned()]), "it will have given it back then");
}

#[test]
fn no_more_run_than_may() {
    let claimed = Resident { claimed: true, ..on("a", Device::Cpu) };
    let mut all = Picture { max_instances: Some(1), ..picture(vec![], vec![claimed]) };
    let place = |all: &Picture, home: &str| place(all, Path::new(home), Asked::Cpu, 0);
    assert_eq!(place(&all, "b"), Step::Wait(vec!["a".to_owned()]));
    assert_eq!(place(&all, "a"), Step::Go(Device::Cpu), "it replaces itself");
    all.residents[0].claimed = false;
    assert_eq!(place(&all, "b"), Step::Stop("a".into()));
}

#[test]
fn workflows_on_one_gpu_take_turns_unless_they_fit() {
    let here = Path::new("a");
    let mut all = picture(vec![gpu(0, 24, 10)], vec![on_gpu("a", 0), on_gpu("b", 0), on_gpu("c", 1)]);
    let go = Step::Go(Device::Gpu { index: 0 });
    assert_eq!(share(&all, here, &[]), Step::Free("b".into()), "nothing is known of what it needs");
    assert_eq!(share(&all, here, &["b".into()]), Step::Wait(vec!["b".to_owned()]), "it came first");
    assert_eq!(share(&all, here, &["a".into(), "c".into()]), Step::Free("b".into()), "they are of no matter");
    all.residents[1].freed = true;
    assert_eq!(share(&all, here, &[]), go);
    all.residents[1].computes = true;
    assert_eq!(share(&all, here, &[]), Step::Wait(vec!["b".to_owned()]));
    (all.residents[0].peak, all.residents[1].peak) = (8 * GB, 15 * GB);
    assert_eq!(share(&all, here, &[]), go, "both fit, with the reserve");
    all.residents[1].peak += 1;
    assert_eq!(share(&all, here, &[]), Step::Wait(vec!["b".to_owned()]));
    all.residents[0].device = Device::Cpu;
    assert_eq!(share(&all, here, &[]), Step::Go(Device::Cpu));
}

prop_compose! {
    fn resident()(
        number in 0..8_u32, device in 0..6_u32, flags in any::<[bool; 5]>(), idle_ms in 0..5_u64,
        holds in proptest::option::of(0..12_u64), peak in 0..20_u64,
    ) -> Resident {
        let device = match device {
            0 => Device::Cpu,
            1 => Device::Any,
            index => Device::Gpu { index: index % 3 },
        };
        let [claimed, works, computes, pinned, freed] = flags;
        let holds = holds.map(|gb| gb * GB);
        Resident {
            claimed, works, computes, pinned, freed, idle_ms, holds, peak: peak * GB,
            ..on(&format!("{number}"), device)
        }
    }
}

prop_compose! {
    fn any_picture()(
        gpus in proptest::collection::vec((0..24_u64, 0..24_u64), 0..3),
        residents in proptest::collection::vec(resident(), 0..7),
        max in proptest::option::of(1..5_usize), reserve in 0..6_u64,
    ) -> Picture {
        let mut by_home: BTreeMap<_, _> = residents.into_iter().map(|one| (one.home.clone(), one)).collect();
        let numbered = gpus.into_iter().zip(0..);
        Picture {
            gpus: numbered.map(|((free, used), index)| gpu(index, free + used, free)).collect(),
            residents: std::mem::take(&mut by_home).into_values().collect(),
            max_instances: max,
            reserve: reserve * GB,
        }
    }
}

fn of<'a>(picture: &'a Picture, home: &Path) -> &'a Resident {
    picture.residents.iter().find(|one| one.home == home).unwrap()
}

proptest! {
    #[test]
    fn who_works_is_left_alone_and_who_is_claimed_is_not_ended(
        all in any_picture(), peak in 0..30_u64, ahead in proptest::collection::vec(0..8_u32, 0..3),
    ) {
        let home = Path::new("0");
        let ahead: Vec<PathBuf> = ahead.iter().map(|number| number.to_string().into()).collect();
        for step in [place(&all, home, Asked::Gpu, peak * GB), share(&all, home, &ahead)] {
            match step {
                Step::Free(one) => {
                    let one = of(&all, &one);
                    prop_assert!(!one.works && !one.computes && !one.freed && one.home != home);
                }
                Step::Stop(one) => {
                    let one = of(&all, &one);
                    prop_assert!(!one.works && !one.computes && !one.claimed && one.home != home);
                    let better = all.residents.iter().find(|other| {
                        !other.works && !other.computes && !other.claimed && other.home != home
                            && other.device == one.device
                            && (other.pinned, Reverse(other.idle_ms)) < (one.pinned, Reverse(one.idle_ms))
                    });
                    prop_assert_eq!(better, None);
                }
                Step::Go(_) | Step::Wait(_) => {}
            }
        }
    }

    #[test]
    fn no_start_goes_over_the_bound(all in any_picture(), peak in 0..30_u64) {
        let others = all.residents.iter().filter(|one| one.home != Path::new("0")).count();
        if let Step::Go(_) = place(&all, Path::new("0"), Asked::Gpu, peak * GB) {
            prop_assert!(all.max_instances.is_none_or(|max| others < max));
        }
    }

    #[test]
    fn the_order_of_the_picture_is_of_no_matter(all in any_picture(), peak in 0..30_u64) {
        let mut other = all.clone();
        other.residents.reverse();
        other.gpus.reverse();
        let home = Path::new("0");
        prop_assert_eq!(place(&all, home, Asked::Gpu, peak * GB), place(&other, home, Asked::Gpu, peak * GB));
        prop_assert_eq!(share(&all, home, &[]), share(&other, home, &[]));
    }

    /// A world in which nobody does anything, and only they hold memory.
    #[test]
    fn room_is_made_where_it_can_be(
        held in proptest::collection::vec((0..3_u32, 0..12_u64, any::<bool>()), 0..7), max in 1..4_usize,
    ) {
        let idle = |(number, (index, gb, pinned)): (usize, (u32, u64, bool))| Resident {
            holds: Some(CONTEXT + gb * GB), pinned, ..on_gpu(&number.to_string(), index)
        };
        let residents: Vec<Resident> = held.into_iter().enumerate().map(idle).collect();
        let mut all = Picture { max_instances: Some(max), ..picture(vec![], residents) };
        for _ in 0..=2 * all.residents.len() {
            all.gpus = (0..3).map(|index| {
                let used: u64 = all.residents.iter().filter(|one| is_on(one, index)).filter_map(|one| one.holds).sum();
                Gpu { free: (24 * GB).saturating_sub(used), ..gpu(index, 24, 0) }
            }).collect();
            match place(&all, Path::new("new"), Asked::Gpu, 0) {
                Step::Go(device) => {
                    let on = |gpu: &&Gpu| device == Device::Gpu { index: gpu.index };
                    prop_assert!(all.gpus.iter().find(on).unwrap().free >= all.reserve);
                    return Ok(());
                }
                Step::Free(home) => {
                    let one = all.residents.iter_mut().find(|one| one.home == home).unwrap();
                    (one.holds, one.freed) = (Some(CONTEXT), true);
                }
                Step::Stop(home) => all.residents.retain(|one| one.home != home),
                Step::Wait(names) => prop_assert!(false, "nobody holds anything: {names:?}"),
            }
        }
        prop_assert!(false, "it does not come to an end");
    }

    #[test]
    fn two_compute_together_only_if_they_fit(all in any_picture(), ahead in proptest::collection::vec(0..8_u32, 0..3)) {
        let home = Path::new("0");
        let ahead: Vec<PathBuf> = ahead.iter().map(|number| number.to_string().into()).collect();
        let (Step::Go(Device::Gpu { index }), Some(me)) =
            (share(&all, home, &ahead), all.residents.iter().find(|one| one.home == home)) else { return Ok(()) };
        let before: Vec<_> = all.residents.iter()
            .filter(|one| one.home != home && is_on(one, index) && (one.computes || ahead.contains(&one.home)))
            .collect();
        if !before.is_empty() {
            let total = all.gpus.iter().find(|gpu| gpu.index == index).map_or(0, |gpu| gpu.total);
            prop_assert!(before.iter().all(|one| one.peak > 0));
            prop_assert!(before.iter().map(|one| one.peak).sum::<u64>() + me.peak + all.reserve <= total);
        }
    }
}
