//! The tree of a compiled expression. Left-associative operators are flat lists, so that the depth
//! of the tree is the nesting that the author wrote, which the parser limits.

use super::{functions::Function, scope::Attribute, value::Value};

#[derive(Clone, Debug)]
pub struct Node {
    /// Where it starts, in bytes of the text given to `Template::compile`.
    pub offset: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Constant(Value<'static>),
    /// An array literal with at least one item that is not constant.
    List(Vec<Node>),
    Variable(Variable),
    Select {
        base: Box<Node>,
        steps: Vec<Step>,
    },
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare {
        first: Box<Node>,
        rest: Vec<Comparison>,
    },
    Cast {
        base: Box<Node>,
        to: CastTo,
    },
    If {
        condition: Box<Node>,
        yes: Box<Node>,
        no: Box<Node>,
    },
    /// `first op operand op operand …`: `default` and the infix functions, left to right.
    Chain {
        first: Box<Node>,
        links: Vec<Link>,
    },
    Call {
        function: Function,
        arguments: Vec<Node>,
    },
}

/// What the scope is asked for: the narrowest thing that the text names.
#[derive(Clone, Debug)]
pub enum Variable {
    /// `attributes` as a whole.
    Attributes,
    Attribute(Attribute),
    /// `attributes.<something unknown>`: null.
    Unknown,
    /// `attributes.headers` as a whole.
    Headers,
    /// One header; the name in lower case.
    Header(Box<str>),
    /// One header whose name is computed.
    HeaderBy(Box<Node>),
    QueryParam(Box<str>),
    Authentication(Path),
    Payload,
    Var(Path),
}

/// At most [`PATH_KEYS_MAX`] keys; further ones are [`Step`]s.
pub type Path = Box<[Box<str>]>;

/// Keys of a path that are given to the scope at once: what fits an array on the stack.
pub const PATH_KEYS_MAX: usize = 8;

/// A selector: `.name`, `['name']`, `[index]`.
#[derive(Clone, Debug)]
pub struct Step {
    pub offset: usize,
    pub key: Key,
}

#[derive(Clone, Debug)]
pub enum Key {
    Name(Box<str>),
    By(Node),
}

#[derive(Clone, Debug)]
pub struct Comparison {
    pub offset: usize,
    pub relation: Relation,
    pub operand: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastTo {
    String,
    Number,
    Boolean,
}

#[derive(Clone, Debug)]
pub struct Link {
    pub offset: usize,
    pub operator: Operator,
    pub operand: Node,
}

#[derive(Clone, Copy, Debug)]
pub enum Operator {
    Default,
    Call(Function),
}
