// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving up rights, in two steps, because threads are made in between:
//!
//! 1. [`leave`], on the only thread, when every file is open: another user and
//!    group without a name, no capability, no way to get one back, no path of
//!    the file system, no network.
//! 2. [`close`], when every thread is there: system calls by an allow-list of
//!    at most [`CALLS_MAX`]; any other ends the process, which the daemon starts
//!    again and reports.

use crate::Error;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// System calls a backend may make, at most.
pub const CALLS_MAX: usize = 30;

/// What every backend calls once it serves: waiting, its queues' files, its
/// control socket, its own memory and threads.
const COMMON: [libc::c_long; 22] = [
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_io_uring_enter,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_write,
];

/// The only requests of `ioctl` left: `HVX_IOC_EVENT_SEND`, `HVX_IOC_EVENT_CLOSE`.
const EVENT_REQUESTS: [u64; 2] = [0x4004_4814, 0x4004_4815];

/// Becomes `uid`, alone and with nothing; 0: only what needs no other user.
/// The process must have one thread.
pub fn leave(uid: u32) -> Result<(), Error> {
    become_user(uid)?;
    leave_files()
}

/// The part of [`leave`] that is about users and capabilities; files stay.
pub fn become_user(uid: u32) -> Result<(), Error> {
    let no = |what: &str| {
        let what = format!("give up {what}");
        move |e: rustix::io::Errno| Error::system(what, e)
    };
    if uid != 0 {
        rustix::thread::set_thread_groups(&[]).map_err(no("groups"))?;
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
        rustix::thread::set_thread_res_gid(group, group, group).map_err(no("the group"))?;
        rustix::thread::set_thread_res_uid(user, user, user).map_err(no("the user"))?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(no("capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(no("new rights"))
}

fn leave_files() -> Result<(), Error> {
    let abi = ABI::V6;
    let locked = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.handle_access(AccessNet::from_all(abi)))
        .and_then(|r| r.scope(Scope::from_all(abi)))
        .and_then(|r| r.create())
        .and_then(|r| r.restrict_self());
    match locked {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::system("give up the file system", std::io::Error::other(e))),
    }
}

/// The filter of a backend that needs `more` calls than all do, and `ioctls`.
fn filter(more: &[libc::c_long], ioctls: &[u64]) -> Result<BpfProgram, Error> {
    let no = |e: seccompiler::BackendError| {
        Error::system("make a filter of system calls", std::io::Error::other(e))
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in COMMON.iter().chain(more) {
        rules.insert(*call, Vec::new());
    }
    let request = |value: u64| {
        let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
        is.and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let requests: Result<Vec<_>, _> =
        EVENT_REQUESTS.iter().chain(ioctls).map(|value| request(*value)).collect();
    rules.insert(libc::SYS_ioctl, requests.map_err(no)?);
    if rules.len() > CALLS_MAX {
        return Err(Error::Settings(format!("{} system calls are too many", rules.len())));
    }
    let (other, listed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, other, listed, TargetArch::x86_64).map_err(no)?;
    filter.try_into().map_err(no)
}

/// Closes the process, all of its threads, to system calls that are not listed.
pub fn close(more: &[libc::c_long]) -> Result<(), Error> {
    close_but(more, &[])
}

/// The same for a backend that needs `ioctls` of its files.
pub fn close_but(more: &[libc::c_long], ioctls: &[u64]) -> Result<(), Error> {
    let program = filter(more, ioctls)?;
    seccompiler::apply_filter_all_threads(&program)
        .map_err(|e| Error::system("close the system calls", std::io::Error::other(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_short_and_compiles() {
        assert!(filter(&[], &[]).unwrap().len() < 200);
        let many: Vec<_> = (300..340).collect();
        assert!(filter(&many, &[]).is_err());
    }
}
