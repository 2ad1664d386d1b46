//! Samples of what `doctor` asks and finds.

use crate::golden::{Golden, golden};
use proto::method::*;

pub(crate) fn all() -> Vec<Golden> {
    let findings = vec![
        Finding::ok("volume", "`/volume` is fuse.mfs from `mfs#h.example:9421`"),
        Finding::warning("small files", "opening one takes 2.1 ms", "keep homes on a nearer disk")
            .figure("open_us", 2_100),
        Finding::problem("HF_TOKEN", "Hugging Face refuses it (401)", "make a new one"),
    ];
    vec![
        golden("doctor", &Doctor { cwd: Some("/home/u".to_owned()), quick: true }),
        golden("doctor_answer", &DoctorAnswer { findings }),
        golden("verdicts", &vec![Verdict::Ok, Verdict::Warning, Verdict::Problem]),
    ]
}
