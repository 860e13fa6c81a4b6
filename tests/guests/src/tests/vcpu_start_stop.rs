// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU is taken offline and goes on where it was, by its own domain and by
//! the control domain; what is not in the state for it is refused.

use core::sync::atomic::Ordering;

use hv_abi::vcpu::{VcpuRunState, run_state};
use hv_abi::{DOM_SELF, Door, Status};
use hv_guest::hypercall::{Hv, gpa_mut};
use hv_guest::mail::MAIL;
use hv_guest::{Outcome, check, check_eq, cpu, ok, smp};

use crate::child::{Child, Spec};

fn counter(_: usize) {
    loop {
        MAIL.from[1].fetch_add(1, Ordering::SeqCst);
    }
}

fn state(vcpu: u64) -> Result<VcpuRunState, Status> {
    let mut state = VcpuRunState::default();
    Hv.vcpu_run_state(DOM_SELF, vcpu, gpa_mut(&mut state))?;
    Ok(state)
}

fn goes_on() -> bool {
    let before = MAIL.from(1);
    cpu::wait_until(5000, || MAIL.from(1) > before + 10)
}

fn child() -> Outcome {
    check!(smp::start(1, counter, 5000));
    check_eq!(Hv.vcpu_start(DOM_SELF, 1), Err(Status::State), "it runs");
    for _ in 0..5 {
        check!(goes_on());
        ok!(Hv.vcpu_stop(DOM_SELF, 1));
        let offline = || state(1).is_ok_and(|s| s.state == run_state::OFFLINE);
        check!(cpu::wait_until(5000, offline), "it did not stop");
        let stopped = MAIL.from(1);
        cpu::spin_us(20_000);
        check_eq!(MAIL.from(1), stopped, "it runs on");
        check_eq!(Hv.vcpu_stop(DOM_SELF, 1), Err(Status::State), "it is offline");
        ok!(Hv.vcpu_start(DOM_SELF, 1));
        check!(goes_on(), "it did not go on");
    }
    let told = ok!(state(1));
    check!(told.run_ns > 0 && told.affinity == 0, "{told:?}");
    check_eq!(Hv.vcpu_stop(DOM_SELF, 2), Err(Status::NotFound));
    check_eq!(Hv.vcpu_start(DOM_SELF, u64::MAX), Err(Status::NotFound));
    check_eq!(Hv.vcpu_stop(0, 0), Err(Status::Denied));
    check_eq!(Hv.vcpu_start(0, 0), Err(Status::Denied));
    check_eq!(Hv.vcpu_run_state(0, 0, 0x8000), Err(Status::Denied));
    check_eq!(Hv.vcpu_run_state(DOM_SELF, 2, 0x8000), Err(Status::NotFound));
    check_eq!(Hv.vcpu_run_state(DOM_SELF, 0, 0xfee0_0000), Err(Status::Fault));
    MAIL.answer(0, 1);
    check!(cpu::wait_until(20_000, || MAIL.to(0) == 1));
    Ok(())
}

/// The runner's part.
pub fn run() -> Outcome {
    let child = Child::with(&Spec { vcpus: 2, ..Spec::new(child) })?;
    child.start()?;
    child.wait_for(0, 1)?;
    ok!(Hv.vcpu_stop(child.id, 1));
    let mut told = VcpuRunState::default();
    let offline = || {
        let asked = Hv.vcpu_run_state(child.id, 1, gpa_mut(&mut told));
        asked.is_ok() && told.state == run_state::OFFLINE
    };
    check!(cpu::wait_until(5000, offline));
    check!(told.affinity != 0, "the control domain is told all");
    ok!(Hv.vcpu_start(child.id, 1));
    let before = child.mail()?.from(1);
    child.wait_for(1, before + 10)?;
    check_eq!(Hv.vcpu_stop(DOM_SELF, 0), Err(Status::Invalid), "the control domain's own");
    check_eq!(Hv.vcpu_start(4000, 0), Err(Status::NotFound));
    child.mail()?.tell(0, 1);
    child.finish()?;
    child.destroy()
}
