//! The tight half of the grammar (reference 7.7): `not`, selectors, literals, lists, calls.

use super::{
    ExpressionError,
    ast::{Key, Kind, Node, Step},
    functions::Function,
    lexer::Token,
    parser::{Parse, Parser, arguments, check_charset},
    refusals,
    value::Value,
    variables,
};

impl Parser<'_> {
    pub(super) fn unary(&mut self) -> Parse {
        let offset = self.offset();
        if !self.accept_word("not") && !self.accept("!") {
            return self.postfix();
        }
        let operand = Box::new(self.nested(Self::unary)?);
        self.bare = Some("not");
        Ok(Node { offset, kind: Kind::Not(operand) })
    }

    fn postfix(&mut self) -> Parse {
        let offset = self.offset();
        let root = match *self.token() {
            Token::Name(name) if variables::is_root(name) && !self.is_call() => {
                self.step();
                Some(name)
            }
            _ => None,
        };
        let base = if root.is_some() { None } else { Some(self.primary()?) };
        let steps = self.selectors()?;
        self.bare = None;
        match (root, base) {
            (Some(root), _) => Ok(variables::resolve(self, root, offset, steps)),
            (None, Some(base)) if steps.is_empty() => Ok(base),
            (None, Some(base)) => Ok(Node { offset, kind: Kind::Select { base: Box::new(base), steps } }),
            // One of the two was parsed above.
            (None, None) => Err(self.missing("a value", "here")),
        }
    }

    /// Whether a call starts here: `name(`, `module::name(`.
    fn is_call(&self) -> bool {
        matches!(self.next_token(), Token::Symbol("(" | "::"))
    }

    fn selectors(&mut self) -> Parse<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            let offset = self.offset();
            if self.accept(".") {
                let name: Box<str> = match self.token() {
                    Token::Name(name) => (*name).into(),
                    Token::Text(name) => name.as_str().into(),
                    other => return Err(refusals::selector(other, self.offset())),
                };
                self.step();
                steps.push(Step { offset, key: Key::Name(name) });
            } else if self.accept("[") {
                let key = match self.nested(Self::expression)? {
                    Node { kind: Kind::Constant(Value::String(name)), .. } => Key::Name((*name).into()),
                    computed => Key::By(computed),
                };
                self.require("]", "after the key or index")?;
                steps.push(Step { offset, key });
            } else {
                return Ok(steps);
            }
        }
    }

    fn primary(&mut self) -> Parse {
        let offset = self.offset();
        let constant = |value: Value<'static>| Node { offset, kind: Kind::Constant(value) };
        let node = match self.token().clone() {
            Token::Number(number) => constant(Value::Number(number)),
            Token::Text(text) => constant(text.into()),
            Token::Symbol("-") => {
                self.step();
                match *self.token() {
                    Token::Number(number) => constant(Value::Number(-number)),
                    _ => return Err(refusals::arithmetic("-", offset)),
                }
            }
            Token::Symbol("(") => {
                self.step();
                let inner = self.nested(Self::expression)?;
                self.require(")", "to close the parenthesis")?;
                return Ok(inner);
            }
            Token::Symbol("[") => return self.list(),
            Token::Symbol(name @ ("++" | "--")) if self.is_call() => {
                self.step();
                return self.call(name, offset);
            }
            Token::Name("true") => constant(true.into()),
            Token::Name("false") => constant(false.into()),
            Token::Name("null") => constant(Value::Null),
            Token::Name(_) => {
                let path = self.path_text();
                let is_call = path.contains("::") || self.is_call();
                if !is_call || refusals::is_keyword(&path) {
                    return Err(refusals::name(&path, offset));
                }
                self.skip_path();
                return self.call(&path, offset);
            }
            other => return Err(refusals::value(&other, offset)),
        };
        self.step();
        Ok(node)
    }

    fn list(&mut self) -> Parse {
        let offset = self.offset();
        self.step();
        let items = self.items("]", "to close the array")?;
        let constant = |node: &Node| matches!(node.kind, Kind::Constant(_));
        if !items.iter().all(constant) {
            return Ok(Node { offset, kind: Kind::List(items) });
        }
        let values: Vec<Value<'static>> = items
            .into_iter()
            .filter_map(|node| match node.kind {
                Kind::Constant(value) => Some(value),
                _ => None,
            })
            .collect();
        Ok(Node { offset, kind: Kind::Constant(values.into()) })
    }

    /// Expressions separated by commas, up to and including `close`.
    fn items(&mut self, close: &'static str, why: &str) -> Parse<Vec<Node>> {
        let mut items = Vec::new();
        if self.accept(close) {
            return Ok(items);
        }
        loop {
            items.push(self.nested(Self::expression)?);
            if !self.accept(",") {
                self.require(close, why)?;
                return Ok(items);
            }
        }
    }

    /// A call whose path has been read; the arguments follow.
    fn call(&mut self, path: &str, offset: usize) -> Parse {
        let Some(function) = Function::from_path(path) else {
            return Err(refusals::unknown_function(path, offset));
        };
        self.require("(", &format!("after `{path}`"))?;
        let given = self.items(")", "to close the call")?;
        let arity = function.entry().arity;
        if given.len() != arity {
            return Err(ExpressionError::at(
                offset,
                format!("`{path}` takes {}, {} given", arguments(arity), given.len()),
            ));
        }
        if let [_, second] = given.as_slice() {
            check_charset(function, second)?;
        }
        self.uses.random |= function == Function::Uuid;
        Ok(Node { offset, kind: Kind::Call { function, arguments: given } })
    }
}
