//! What the settings need to know of the machine, as a value.

use std::thread;

#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors that this process may use, at least 1.
    pub cpus: usize,
    /// For a replica that was given no name.
    pub generated_name: String,
}

impl Machine {
    /// The machine of this process. The standard library counts the CPU quota of the control group
    /// (version 2 or 1, rounded down) and the affinity mask, whichever is less (decision 22).
    pub fn this() -> Self {
        Self {
            cpus: thread::available_parallelism().map_or(1, usize::from),
            generated_name: format!("portcullis-{:08x}", fastrand::u32(..)),
        }
    }
}
