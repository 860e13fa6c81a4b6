// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answers a hypercall can give. There are few, so that a caller can
//! handle each; which argument was at fault is in the call's manual page.

/// What a hypercall answers in `rax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[must_use]
pub enum Status {
    /// Done.
    Ok = 0,
    /// There is no call of this number.
    NoCall = 1,
    /// The caller may not do this.
    Denied = 2,
    /// An argument is outside its range, not aligned or contradicts another.
    Invalid = 3,
    /// The domain, vCPU, port or range named does not exist.
    NotFound = 4,
    /// The host, or the domain's allowance, has too little memory.
    NoMemory = 5,
    /// The thing is in use; try later.
    Busy = 6,
    /// Part is done: make the same call again with the value's progress.
    Again = 7,
    /// The thing is there already.
    Exists = 8,
    /// A limit of the domain (ports, vCPUs, …) is reached.
    Limit = 9,
    /// A guest-physical address is not the caller's own memory.
    Fault = 10,
    /// The domain is being destroyed.
    Dying = 11,
    /// The domain or vCPU is not in the state the call needs.
    State = 12,
}

impl Status {
    /// Every status, in order of its code.
    pub const ALL: [Status; 13] = [
        Status::Ok,
        Status::NoCall,
        Status::Denied,
        Status::Invalid,
        Status::NotFound,
        Status::NoMemory,
        Status::Busy,
        Status::Again,
        Status::Exists,
        Status::Limit,
        Status::Fault,
        Status::Dying,
        Status::State,
    ];

    /// The status of this code, or `None` for a code of a newer core.
    pub fn from_code(code: u64) -> Option<Status> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index)).copied()
    }

    /// One sentence for people.
    pub const fn text(self) -> &'static str {
        match self {
            Status::Ok => "done",
            Status::NoCall => "the core knows no such call",
            Status::Denied => "the caller is not allowed to do this",
            Status::Invalid => "an argument is out of range or not aligned",
            Status::NotFound => "no such domain, vCPU, port or range",
            Status::NoMemory => "too little memory",
            Status::Busy => "in use; try again later",
            Status::Again => "partly done; call again",
            Status::Exists => "exists already",
            Status::Limit => "a limit of the domain is reached",
            Status::Fault => "the address is not the domain's own memory",
            Status::Dying => "the domain is being destroyed",
            Status::State => "not possible in the present state",
        }
    }
}

/// The C name of a status without its prefix.
impl core::fmt::Display for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_few() {
        for (code, status) in Status::ALL.iter().enumerate() {
            assert_eq!(*status as usize, code);
            assert_eq!(Status::from_code(code as u64), Some(*status));
        }
        assert!(Status::ALL.len() <= 16);
        assert_eq!(Status::from_code(13), None);
        assert_eq!(Status::from_code(u64::MAX), None);
    }
}
