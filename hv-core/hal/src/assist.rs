// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a CPU itself does of the virtual local APICs, so that no exit is
//! needed for it: the word in which the administrator, the kernel crate and
//! the vendors' rooms speak of it.
//!
//! Each part needs the ones before it. What a part means for the kernel crate
//! is said at [`HwVcpu`](crate::vcpu::HwVcpu).

use core::fmt;

/// Parts of a virtual APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assist {
    /// The guest's writes of its task priority need no exit.
    pub tpr: bool,
    /// Reads of registers need none.
    pub registers: bool,
    /// The CPU delivers pending interrupts by their priority and takes
    /// acknowledgements.
    pub delivery: bool,
    /// Other CPUs' interrupts reach a vCPU that runs.
    pub posting: bool,
}

impl Assist {
    /// Nothing.
    pub const NONE: Self = Self { tpr: false, registers: false, delivery: false, posting: false };
    /// Everything.
    pub const ALL: Self = Self { tpr: true, registers: true, delivery: true, posting: true };
    /// What is used unless the administrator says otherwise.
    pub const DEFAULT: Self = Self { delivery: false, posting: false, ..Self::ALL };
    /// How a choice is written.
    pub const FORM: &'static str =
        "none|all|PART[,PART…], each tpr, registers, delivery or posting";

    /// Reads one of [`FORM`](Self::FORM).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => return Some(Self::NONE),
            "all" => return Some(Self::ALL),
            _ => {}
        }
        let mut parts = Self::NONE;
        for part in text.split(',') {
            match part {
                "tpr" => parts.tpr = true,
                "registers" => parts.registers = true,
                "delivery" => parts.delivery = true,
                "posting" => parts.posting = true,
                _ => return None,
            }
        }
        Some(parts)
    }
}

impl fmt::Display for Assist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let parts = [
            (self.tpr, "tpr"),
            (self.registers, "registers"),
            (self.delivery, "delivery"),
            (self.posting, "posting"),
        ];
        let mut comma = "";
        for (_, name) in parts.iter().filter(|part| part.0) {
            write!(f, "{comma}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in ["none", "tpr", "tpr,registers", "tpr,registers,delivery,posting"] {
            assert_eq!(Assist::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Assist::parse("all"), Some(Assist::ALL));
        for bad in ["", "tpr,", "on", "all,tpr", "TPR"] {
            assert_eq!(Assist::parse(bad), None, "{bad}");
        }
    }
}
