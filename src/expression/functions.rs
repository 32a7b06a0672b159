//! The functions of the subset by name: modules and arities (reference 7.2). What they do is in
//! `calls`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Concatenate,
    Remove,
    Contains,
    Lower,
    Upper,
    Trim,
    SplitBy,
    SizeOf,
    IsEmpty,
    Uuid,
    SubstringAfter,
    SubstringAfterLast,
    SubstringBefore,
    SubstringBeforeLast,
    ToBase64,
    FromBase64,
    ToBinary,
    ToString,
}

/// A function's place in the language.
#[derive(Debug)]
pub struct Entry {
    pub function: Function,
    pub name: &'static str,
    /// Modules it is reachable through; for those that also need none, see [`Entry::bare`].
    pub modules: &'static [&'static str],
    pub arity: usize,
}

const CORE: &[&str] = &["dw::Core"];
const STRINGS: &[&str] = &["dw::core::Strings"];
/// Some pages of the vendor leave out `core`; both are accepted.
const BINARIES: &[&str] = &["dw::core::Binaries", "dw::Binaries"];
const COERCIONS: &[&str] = &["dw::util::Coercions"];

pub const ENTRIES: &[Entry] = &[
    entry(Function::Concatenate, "++", CORE, 2),
    entry(Function::Remove, "--", CORE, 2),
    entry(Function::Contains, "contains", CORE, 2),
    entry(Function::Lower, "lower", CORE, 1),
    entry(Function::Upper, "upper", CORE, 1),
    entry(Function::Trim, "trim", CORE, 1),
    entry(Function::SplitBy, "splitBy", CORE, 2),
    entry(Function::SizeOf, "sizeOf", CORE, 1),
    entry(Function::IsEmpty, "isEmpty", CORE, 1),
    entry(Function::Uuid, "uuid", CORE, 0),
    entry(Function::SubstringAfter, "substringAfter", STRINGS, 2),
    entry(Function::SubstringAfterLast, "substringAfterLast", STRINGS, 2),
    entry(Function::SubstringBefore, "substringBefore", STRINGS, 2),
    entry(Function::SubstringBeforeLast, "substringBeforeLast", STRINGS, 2),
    entry(Function::ToBase64, "toBase64", BINARIES, 1),
    entry(Function::FromBase64, "fromBase64", BINARIES, 1),
    entry(Function::ToBinary, "toBinary", COERCIONS, 2),
    entry(Function::ToString, "toString", COERCIONS, 2),
];

const fn entry(
    function: Function,
    name: &'static str,
    modules: &'static [&'static str],
    arity: usize,
) -> Entry {
    Entry { function, name, modules, arity }
}

impl Entry {
    /// Whether the name alone is enough. Functions of modules need their module, because the
    /// subset has no imports.
    pub fn bare(&self) -> bool {
        self.modules == CORE
    }

    /// The name as an expression writes it.
    pub fn full_name(&self) -> String {
        if self.bare() { self.name.to_owned() } else { format!("{}::{}", self.modules[0], self.name) }
    }
}

impl Function {
    pub fn entry(self) -> &'static Entry {
        // The table has one row per variant, in the order of the enum; a test holds it.
        &ENTRIES[self as usize]
    }

    /// The function of a written path such as `trim` or `dw::core::Strings::substringAfter`.
    pub fn from_path(path: &str) -> Option<Self> {
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        ENTRIES
            .iter()
            .find(|entry| {
                entry.name == name
                    && if module.is_empty() { entry.bare() } else { entry.modules.contains(&module) }
            })
            .map(|entry| entry.function)
    }
}
