//! Results on stdout, line by line.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line. A reader that has gone away (`… | head`) has seen enough: the process ends quietly.
pub fn print(line: Arguments<'_>) {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => tracing::error!("could not write to stdout: {error}"),
        Ok(()) => {}
    }
}

/// [`print()`] with the arguments of `format!`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::stdout::print(format_args!($($argument)*)) };
}
pub(crate) use say;
