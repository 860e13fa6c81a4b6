// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who calls whom in a linked image, read from its machine code.
//!
//! Direct calls and jumps name their target. An indirect call may go to any
//! function whose address is taken: as a word of data (tables of virtual
//! functions, static pointers) or in an instruction. So the graph has too many
//! edges rather than too few.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// A call or jump from one function to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Address of the instruction.
    pub at: u64,
    /// First byte of the function that it goes to.
    pub to: u64,
    /// Constants in the instructions before it, the nearest last: where its
    /// arguments point.
    pub near: Vec<u64>,
}

/// Instructions before a call that may load its arguments.
const NEAR: usize = 16;

/// A function.
#[derive(Debug, Default)]
pub struct Function {
    /// Its name, as the linker has it.
    pub name: String,
    end: u64,
    /// Direct calls and jumps to others.
    pub calls: Vec<Call>,
    /// Functions whose addresses its instructions name.
    takes: Vec<u64>,
    /// It calls through a register or memory.
    indirect: bool,
}

/// The image.
#[derive(Debug)]
pub struct Graph {
    /// Functions by their first byte.
    pub functions: BTreeMap<u64, Function>,
    /// Functions whose addresses lie in data.
    in_data: BTreeSet<u64>,
    /// Data sections: address and bytes.
    data: Vec<(u64, Vec<u8>)>,
}

impl Graph {
    /// Reads an ELF file.
    pub fn read(data: &[u8]) -> Result<Self> {
        let file = object::File::parse(data).context("not an object file")?;
        let mut functions = BTreeMap::new();
        let mut sections = Vec::new();
        for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
            sections.push((section.address(), section.data()?));
        }
        let inside = |at: u64| {
            sections.iter().any(|(start, data)| (*start..*start + data.len() as u64).contains(&at))
        };
        for symbol in file.symbols() {
            let code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label)
                || symbol.kind() == SymbolKind::Unknown;
            let name = symbol.name().unwrap_or("");
            if code && !name.is_empty() && inside(symbol.address()) {
                let entry: &mut Function = functions.entry(symbol.address()).or_default();
                if entry.name.is_empty() || symbol.size() > 0 {
                    entry.name = name.to_owned();
                }
                entry.end = entry.end.max(symbol.address() + symbol.size());
            }
        }
        if functions.is_empty() {
            bail!("the image has no symbols");
        }
        // Assembly's symbols have no sizes: such a function ends with the next.
        let starts: Vec<u64> = functions.keys().copied().collect();
        for (n, start) in starts.iter().enumerate() {
            let Some(function) = functions.get_mut(start) else { continue };
            if function.end <= *start {
                let next = starts.get(n + 1).copied().unwrap_or(u64::MAX);
                let section =
                    sections.iter().find(|(s, d)| (*s..*s + d.len() as u64).contains(start));
                let last = section.map_or(*start, |(s, d)| s + d.len() as u64);
                function.end = next.min(last);
            }
        }
        let mut graph = Self { functions, in_data: BTreeSet::new(), data: Vec::new() };
        for start in starts {
            let Some(function) = graph.functions.get(&start) else { continue };
            let end = function.end;
            let code = sections.iter().find_map(|(s, d)| {
                d.get(start.checked_sub(*s)? as usize..end.checked_sub(*s)? as usize)
            });
            graph.scan(start, end, code.unwrap_or_default());
        }
        for section in file.sections() {
            let holds = matches!(
                section.kind(),
                SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString
            );
            if holds {
                graph.data.push((section.address(), section.data()?.to_vec()));
                let words = section.data()?.chunks_exact(8);
                let words = words.filter_map(|w| Some(u64::from_le_bytes(w.try_into().ok()?)));
                graph.in_data.extend(words.filter(|w| graph.functions.contains_key(w)));
            }
        }
        Ok(graph)
    }

    /// The function that has this address.
    pub fn holder(&self, at: u64) -> Option<u64> {
        let (start, function) = self.functions.range(..=at).next_back()?;
        (at < function.end.max(start + 1)).then_some(*start)
    }

    /// Bytes of the image's data.
    pub fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.data.iter().find_map(|(start, data)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            data.get(from..from.checked_add(len)?)
        })
    }

    /// Notes what the instructions of one function do.
    fn scan(&mut self, start: u64, end: u64, code: &[u8]) {
        let (mut calls, mut takes, mut indirect) = (Vec::new(), Vec::new(), false);
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        let mut i = Instruction::default();
        // Constants with the number of their instruction.
        let (mut number, mut constants) = (0usize, Vec::new());
        while decoder.can_decode() {
            decoder.decode_out(&mut i);
            number += 1;
            match i.flow_control() {
                FlowControl::Call
                | FlowControl::UnconditionalBranch
                | FlowControl::ConditionalBranch => {
                    let target = i.near_branch_target();
                    if !(start..end).contains(&target)
                        && let Some(to) = self.holder(target)
                    {
                        let near = constants.iter().rev();
                        let near = near.take_while(|(n, _)| number - n <= NEAR).map(|(_, v)| *v);
                        let mut near: Vec<u64> = near.collect();
                        near.reverse();
                        calls.push(Call { at: i.ip(), to, near });
                    }
                    continue;
                }
                FlowControl::IndirectCall => indirect = true,
                // A jump through a table stays within its function; a tail
                // call goes through a register or a table of functions. Both
                // are taken for the latter.
                FlowControl::IndirectBranch => indirect = true,
                _ => {}
            }
            let values = (0..i.op_count()).map(|n| match i.op_kind(n) {
                OpKind::Memory => i.memory_displacement64(),
                OpKind::Immediate64 => i.immediate64(),
                OpKind::Immediate32to64 => i.immediate32to64() as u64,
                OpKind::Immediate32 => i64::from(i.immediate32() as i32) as u64,
                _ => 0,
            });
            for value in values.filter(|v| *v != 0) {
                constants.push((number, value));
                if self.functions.contains_key(&value) {
                    takes.push(value);
                }
            }
        }
        if let Some(function) = self.functions.get_mut(&start) {
            (function.calls, function.takes, function.indirect) = (calls, takes, indirect);
        }
    }

    /// All functions that can run when those of `from` do; `cut` says of which
    /// it is known that they do not. Each with the one it was reached from.
    pub fn reach(&self, from: &[u64], cut: &dyn Fn(&Function) -> bool) -> BTreeMap<u64, u64> {
        let mut seen: BTreeMap<u64, u64> = from.iter().map(|f| (*f, *f)).collect();
        let mut work: Vec<u64> = from.to_vec();
        let mut open = false;
        while let Some(at) = work.pop() {
            let Some(function) = self.functions.get(&at) else { continue };
            let direct = function.calls.iter().map(|c| c.to);
            let mut next: Vec<u64> = direct.chain(function.takes.iter().copied()).collect();
            if function.indirect && !open {
                open = true;
                next.extend(self.in_data.iter().copied());
            }
            for to in next {
                let known = self.functions.get(&to).is_some_and(cut);
                if !known && !seen.contains_key(&to) {
                    seen.insert(to, at);
                    work.push(to);
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(code: &[u8], starts: &[u64], in_data: &[u64]) -> Graph {
        let mut functions = BTreeMap::new();
        for (n, start) in starts.iter().enumerate() {
            let end = starts.get(n + 1).copied().unwrap_or(0x1000 + code.len() as u64);
            let name = format!("f{n}");
            functions.insert(*start, Function { name, end, ..Function::default() });
        }
        let in_data = in_data.iter().copied().collect();
        let mut graph = Graph { functions, in_data, data: Vec::new() };
        for (n, start) in starts.iter().enumerate() {
            let end = starts.get(n + 1).copied().unwrap_or(0x1000 + code.len() as u64);
            let bytes = &code[(*start - 0x1000) as usize..(end - 0x1000) as usize];
            graph.scan(*start, end, bytes);
        }
        graph
    }

    #[test]
    fn calls_jumps_and_pointers_are_followed() {
        let code = [
            0xe8, 0x03, 0x00, 0x00, 0x00, // f0: call f1
            0x90, 0x90, 0xc3, // nop nop ret
            0xff, 0xd0, 0xc3, // f1: call rax; ret
            0xe9, 0x00, 0x00, 0x00, 0x00, // f2: jmp f3
            0xc3, // f3: ret
            0xc3, // f4: ret
        ];
        let starts = [0x1000, 0x1008, 0x100b, 0x1010, 0x1011];
        let names = |graph: &Graph, cut: &dyn Fn(&Function) -> bool| -> Vec<String> {
            let seen = graph.reach(&[0x1000], cut);
            seen.keys().map(|f| graph.functions[f].name.clone()).collect()
        };
        assert_eq!(names(&graph(&code, &starts, &[]), &|_| false), ["f0", "f1"]);
        let with = graph(&code, &starts, &[0x100b]);
        assert_eq!(names(&with, &|_| false), ["f0", "f1", "f2", "f3"]);
        assert_eq!(names(&with, &|f| f.name == "f2"), ["f0", "f1"]);
        assert_eq!(with.holder(0x1009), Some(0x1008));
    }

    #[test]
    fn addresses_in_instructions_count() {
        // f0: lea rax, [rip + f1]; ret.  f1: ret.
        let code = [0x48, 0x8d, 0x05, 0x01, 0x00, 0x00, 0x00, 0xc3, 0xc3];
        let graph = graph(&code, &[0x1000, 0x1008], &[]);
        assert_eq!(graph.reach(&[0x1000], &|_| false).len(), 2);
    }
}
