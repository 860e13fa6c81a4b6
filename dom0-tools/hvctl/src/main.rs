// SPDX-License-Identifier: MIT OR Apache-2.0
//! (room being furnished)

fn main() {}
