//! A progress bar, for when somebody sees it and has to wait.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error that counts blocks. It shows itself only on a terminal, and only
/// after a second.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    count: Cell<u64>,
}

impl Progress {
    /// A bar that never shows.
    pub(crate) fn none() -> Self {
        Self {
            bar: None,
            started: Instant::now(),
            count: Cell::new(0),
        }
    }

    /// A bar for work on `total` blocks, if it is known how many there are.
    pub(crate) fn of(total: Option<usize>) -> Self {
        let mut progress = Self::none();
        // Lines that scroll by on the same terminal are progress enough.
        if std::io::stderr().is_terminal() && !std::io::stdout().is_terminal() {
            progress.bar = Some(bar(total));
        }
        progress
    }

    /// A bar for work on `total` blocks that prints only at the end.
    pub(crate) fn of_silent_work(total: Option<usize>) -> Self {
        let mut progress = Self::none();
        progress.bar = std::io::stderr().is_terminal().then(|| bar(total));
        progress
    }

    /// Counts one more block.
    pub(crate) fn tick(&self) {
        /// How many blocks pass between checks of the time.
        const STRIDE: u64 = 1_024;
        self.count.set(self.count.get() + 1);
        let Some(bar) = &self.bar else {
            return;
        };
        if self.count.get().is_multiple_of(STRIDE) {
            if bar.is_hidden() && self.started.elapsed() > PATIENCE {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.set_position(self.count.get());
        }
    }

    /// Hides the bar while `print` prints.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Returns whether there is a bar, or may be one later.
    pub(crate) fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// Removes the bar for good.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<usize>) -> ProgressBar {
    let (total, template) = match total {
        Some(total) => (
            Some(total as u64),
            "{wide_bar} {human_pos}/{human_len} blocks, {eta} left",
        ),
        None => (None, "{spinner} {human_pos} blocks"),
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.expect("the template is well-formed"))
}

const PATIENCE: Duration = Duration::from_secs(1);
