//! Clocks that jump, for programs that a test starts.

use crate::TestEnv;
use crate::process::kill;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

/// The clocks of one machine.
#[derive(Debug)]
pub struct Clock {
    file: File,
}

impl Clock {
    /// Gives a machine clocks that can be set: comfyd and all that it starts from now on look at them. Builds them
    /// with the C compiler that Rust links with too.
    pub fn of(env: &mut TestEnv) -> Self {
        let [source, library, state] = ["clock.c", "clock.so", "clock"].map(|name| env.path(name));
        std::fs::write(&source, include_str!("clock.c")).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success(), "the library does not build");
        std::fs::write(&state, [0; 16]).unwrap();
        env.set("LD_PRELOAD", library.to_str().unwrap());
        env.set("CLOCK_FILE", state.to_str().unwrap());
        Self { file: File::options().read(true).write(true).open(state).unwrap() }
    }

    /// Sets the time of day so many seconds ahead of the real one, or behind it.
    pub fn set_time_of_day(&self, ahead: i64) {
        self.file.write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }

    /// Freezes processes, lets so many seconds pass on all clocks, and lets the processes go on.
    pub fn freeze(&self, processes: &[u32], seconds: i64) {
        let mut ahead = [[0; 8]; 2];
        for (at, ahead) in [0, 8].into_iter().zip(&mut ahead) {
            self.file.read_exact_at(ahead, at).unwrap();
        }
        for pid in processes {
            kill(*pid, "STOP");
        }
        for (at, ahead) in [0, 8].into_iter().zip(ahead) {
            self.file.write_all_at(&(i64::from_ne_bytes(ahead) + seconds).to_ne_bytes(), at).unwrap();
        }
        for pid in processes {
            kill(*pid, "CONT");
        }
    }
}
