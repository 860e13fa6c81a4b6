// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a behaviour turned out: success, skip (the machine can't show it),
//! error (the test itself is broken), failure (the core is).

use crate::text::Text;

/// A verdict other than success, with its reason.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// This machine lacks what the behaviour needs.
    Skip(Text),
    /// The test is broken: it could not come to a verdict.
    Error(Text),
    /// The core does not do what it should.
    Failure(Text),
}

/// What tests return.
pub type Outcome<T = ()> = Result<T, Verdict>;

/// Fails with the file's line and a text unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr) => {
        $crate::check!($condition, "{}", stringify!($condition))
    };
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::failure!($($text)+));
        }
    };
}

/// Fails unless both are equal, and shows both.
#[macro_export]
macro_rules! check_eq {
    ($got:expr, $wanted:expr) => {
        $crate::check_eq!($got, $wanted, "{}", stringify!($got))
    };
    ($got:expr, $wanted:expr, $($text:tt)+) => {
        match (&$got, &$wanted) {
            (got, wanted) => {
                if got != wanted {
                    return Err($crate::failure!(
                        "{}: got {:?}, wanted {:?}", format_args!($($text)+), got, wanted
                    ));
                }
            }
        }
    };
}

/// The value of a result; its error is a failure.
#[macro_export]
macro_rules! ok {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err($crate::failure!("{}: {:?}", stringify!($result), error)),
        }
    };
}

/// The verdict "failure" with the line and a text.
#[macro_export]
macro_rules! failure {
    ($($text:tt)+) => {
        $crate::Verdict::Failure($crate::text::Text::of(
            format_args!("line {}: {}", line!(), format_args!($($text)+))
        ))
    };
}

/// The verdict "error" with the line and a text.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => {
        $crate::Verdict::Error($crate::text::Text::of(
            format_args!("line {}: {}", line!(), format_args!($($text)+))
        ))
    };
}

/// The verdict "skip" with a text.
#[macro_export]
macro_rules! skip {
    ($($text:tt)+) => {
        $crate::Verdict::Skip($crate::text::Text::of(format_args!($($text)+)))
    };
}
