// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel and initrd: everything that can be checked before there is a domain.

use super::{BuildError, Step};
use crate::bzimage::{BzImage, HEADER_BYTES};
use crate::layout::{self, Placement};
use crate::spec::DomainSpec;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file that is open, with its length.
pub(super) struct Input {
    pub file: File,
    pub len: u64,
    pub field: &'static str,
}

impl Input {
    fn open(path: &Path, field: &'static str) -> Result<Self, BuildError> {
        let no = |why: String| BuildError::new(Step::Files, Some(field), why);
        let open = || {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            Ok::<_, std::io::Error>((file, meta))
        };
        let (file, meta) = open().map_err(|e| {
            no(format!("cannot read the {field} {}: {e}", path.display()))
                .hint(format!("check the path that `{field}` names"))
        })?;
        if !meta.is_file() {
            return Err(no(format!("{} is no file", path.display())));
        }
        Ok(Self { file, len: meta.len(), field })
    }
}

/// Kernel and initrd, looked at and open.
pub(super) struct Files {
    pub kernel: Input,
    pub image: BzImage,
    pub initrd: Option<Input>,
    pub place: Placement,
    pub cmdline: String,
}

impl Files {
    pub fn open(spec: &DomainSpec) -> Result<Self, BuildError> {
        let no = |field: &str, why: String| Err(BuildError::new(Step::Files, Some(field), why));
        if let Some(fault) = spec.faults().into_iter().next() {
            return no(&fault.field, fault.message);
        }
        let (kernel, image) = open_kernel(&spec.kernel)?;
        let cmdline = spec.kernel_cmdline();
        if cmdline.len() > image.cmdline_max {
            let (len, max) = (cmdline.len(), image.cmdline_max);
            let why = format!("the command line is {len} bytes, this kernel takes {max}");
            return no("cmdline", why);
        }
        let initrd = match &spec.initrd {
            Some(path) => Some(Input::open(path, "initrd")?),
            None => None,
        };
        let initrd_len = initrd.as_ref().map_or(0, |i| i.len);
        let place = layout::place(&image, initrd_len, spec.memory).map_err(|why| {
            BuildError::new(Step::Files, Some("memory"), why).hint("give the domain more memory")
        })?;
        Ok(Self { kernel, image, initrd, place, cmdline })
    }

    pub fn initrd_len(&self) -> u64 {
        self.initrd.as_ref().map_or(0, |i| i.len)
    }
}

/// Everything that can be checked without the core.
pub fn check_files(spec: &DomainSpec) -> Result<(), BuildError> {
    Files::open(spec).map(drop)
}

fn open_kernel(path: &Path) -> Result<(Input, BzImage), BuildError> {
    let mut kernel = Input::open(path, "kernel")?;
    let mut head = Vec::new();
    Read::by_ref(&mut kernel.file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|e| BuildError::new(Step::Files, Some("kernel"), e))?;
    let image = BzImage::parse(&head, kernel.len).map_err(|e| {
        let why = format!("{} cannot be booted: {e}", path.display());
        BuildError::new(Step::Files, Some("kernel"), why).hint(e.hint)
    })?;
    Ok((kernel, image))
}
