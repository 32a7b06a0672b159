//! Tokens to tree: the grammar of reference 7.7 with the precedence of 7.3, high to low:
//! selectors and calls, `not`, `as`, `< <= >= >`, `== !=`, `and`, `or`, then `default` and all
//! infix functions (left-associative), then `if`. The tight half, up to `not`, is in `operands`.

use super::{
    ExpressionError, Uses, Warning,
    ast::{CastTo, Comparison, Kind, Link, Node, Operator, Relation},
    charset::Charset,
    functions::Function,
    lexer::{self, Spanned, Token},
    refusals,
    value::Value,
};

/// Nesting of parentheses, brackets, calls, `if` and `not`: above what people write, below what a
/// thread's stack holds.
pub const DEPTH_MAX: usize = 64;

/// What the parser learns from an expression.
pub struct Parsed {
    pub root: Node,
    pub uses: Uses,
    /// Dotted paths of the variables under `vars`.
    pub vars: Vec<String>,
    /// The headers that the text names, in lower case.
    pub header_names: Vec<String>,
    pub warnings: Vec<Warning>,
}

/// Parses an expression (what stands between `#[` and `]`). `base` is its offset in the text that
/// the caller gave.
pub fn parse(text: &str, base: usize) -> Result<Parsed, ExpressionError> {
    let mut warnings = Vec::new();
    let header = refusals::header_length(text, base)?;
    let tokens = lexer::tokens(&text[header..], base + header, &mut warnings)?;
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        bare: None,
        uses: Uses::default(),
        vars: Vec::new(),
        header_names: Vec::new(),
        warnings,
    };
    let root = parser.expression()?;
    if parser.token() != &Token::End {
        return Err(refusals::after_expression(parser.token(), parser.offset(), &root));
    }
    Ok(Parsed {
        root,
        uses: parser.uses,
        vars: parser.vars,
        header_names: parser.header_names,
        warnings: parser.warnings,
    })
}

pub(super) struct Parser<'t> {
    tokens: Vec<Spanned<'t>>,
    at: usize,
    depth: usize,
    /// The logical or comparison operator at the top of the operand just parsed, when it has no
    /// parentheses around it.
    pub(super) bare: Option<&'static str>,
    pub(super) uses: Uses,
    pub(super) vars: Vec<String>,
    pub(super) header_names: Vec<String>,
    pub(super) warnings: Vec<Warning>,
}

pub(super) type Parse<T = Node> = Result<T, ExpressionError>;

impl<'t> Parser<'t> {
    pub(super) fn token(&self) -> &Token<'t> {
        &self.tokens[self.at].token
    }

    pub(super) fn next_token(&self) -> &Token<'t> {
        let next = (self.at + 1).min(self.tokens.len() - 1);
        &self.tokens[next].token
    }

    pub(super) fn offset(&self) -> usize {
        self.tokens[self.at].start
    }

    /// Steps over a token; the last one, `End`, is never left.
    pub(super) fn step(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.token(), Token::Symbol(found) if *found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.token(), Token::Name(found) if *found == word)
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.step();
        }
        found
    }

    pub(super) fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.step();
        }
        found
    }

    pub(super) fn require(&mut self, symbol: &'static str, why: &str) -> Parse<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.missing(&format!("`{symbol}`"), why)) }
    }

    pub(super) fn missing(&self, wanted: &str, why: &str) -> ExpressionError {
        if let Some(refusal) = refusals::construct(self.token(), self.offset()) {
            return refusal;
        }
        let found = refusals::describe(self.token());
        ExpressionError::at(self.offset(), format!("expected {wanted} {why}, found {found}"))
    }

    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth == DEPTH_MAX {
            return Err(ExpressionError::at(
                self.offset(),
                format!("the expression is nested more than {DEPTH_MAX} levels deep"),
            ));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    pub(super) fn expression(&mut self) -> Parse {
        if self.is_word("if") { self.nested(Self::choice) } else { self.infix() }
    }

    fn choice(&mut self) -> Parse {
        let offset = self.offset();
        self.step();
        self.require("(", "around the condition of `if`")?;
        let condition = Box::new(self.expression()?);
        self.require(")", "after the condition of `if`")?;
        let yes = Box::new(self.expression()?);
        if !self.accept_word("else") {
            return Err(self
                .missing("`else`", "after the first branch of `if`")
                .help("every `if` has both branches: if (condition) a else b; use `else null` for none"));
        }
        let no = Box::new(self.expression()?);
        Ok(Node { offset, kind: Kind::If { condition, yes, no } })
    }

    fn infix(&mut self) -> Parse {
        let offset = self.offset();
        let first = self.or()?;
        let mut links = Vec::new();
        let mut bare = self.bare.map(|operator| (operator, offset));
        while let Some((operator, name)) = self.operator()? {
            let link = self.tokens[self.at].start;
            self.skip_path();
            let start = self.offset();
            let operand = self.or()?;
            bare = bare.or(self.bare.map(|operator| (operator, start)));
            if let Some((logical, at)) = bare.take() {
                self.warnings.push(Warning::new(
                    at,
                    format!("`{logical}` binds tighter than `{name}`: all of it is one operand of `{name}`"),
                    format!(
                        "write parentheses around what belongs together, such as (a {name} b) {logical} c"
                    ),
                ));
            }
            if let Operator::Call(function) = operator {
                check_charset(function, &operand)?;
            }
            links.push(Link { offset: link, operator, operand });
        }
        if links.is_empty() {
            return Ok(first);
        }
        self.bare = None;
        Ok(Node { offset, kind: Kind::Chain { first: Box::new(first), links } })
    }

    /// The infix operator at this place, and how it is written.
    fn operator(&self) -> Parse<Option<(Operator, String)>> {
        let path = match self.token() {
            Token::Symbol(name @ ("++" | "--")) => (*name).to_owned(),
            Token::Name("default") => return Ok(Some((Operator::Default, "default".to_owned()))),
            Token::Name("else" | "and" | "or" | "as" | "not" | "if") | Token::Symbol(_) => return Ok(None),
            Token::Name(_) => self.path_text(),
            Token::Number(_) | Token::Text(_) | Token::End => return Ok(None),
        };
        let Some(function) = Function::from_path(&path) else {
            return Err(refusals::unknown_function(&path, self.offset()));
        };
        let arity = function.entry().arity;
        if arity != 2 {
            return Err(ExpressionError::at(
                self.offset(),
                format!("`{path}` takes {}, it cannot stand between two values", arguments(arity)),
            )
            .help(format!("call it: {path}({})", if arity == 0 { "" } else { "…" })));
        }
        Ok(Some((Operator::Call(function), path)))
    }

    /// `NAME ('::' NAME)*` from here on, as text.
    pub(super) fn path_text(&self) -> String {
        let mut path = String::new();
        let mut at = self.at;
        while let Some(Token::Name(name)) = self.tokens.get(at).map(|spanned| &spanned.token) {
            path.push_str(name);
            if !matches!(self.tokens.get(at + 1).map(|spanned| &spanned.token), Some(Token::Symbol("::"))) {
                break;
            }
            path.push_str("::");
            at += 2;
        }
        path
    }

    /// Steps over an operator's name.
    pub(super) fn skip_path(&mut self) {
        self.step();
        while self.is_symbol("::") {
            self.step();
            if matches!(self.token(), Token::Name(_)) {
                self.step();
            }
        }
    }

    fn or(&mut self) -> Parse {
        self.connected("or", Self::and, Kind::Or)
    }

    fn and(&mut self) -> Parse {
        self.connected("and", Self::equality, Kind::And)
    }

    fn connected(
        &mut self,
        word: &'static str,
        operand: fn(&mut Self) -> Parse,
        kind: fn(Vec<Node>) -> Kind,
    ) -> Parse {
        let offset = self.offset();
        let first = operand(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.accept_word(word) {
            operands.push(operand(self)?);
        }
        self.bare = Some(word);
        Ok(Node { offset, kind: kind(operands) })
    }

    fn equality(&mut self) -> Parse {
        self.compared(Self::order, |symbol| match symbol {
            "==" => Some(Relation::Equal),
            "!=" => Some(Relation::NotEqual),
            _ => None,
        })
    }

    fn order(&mut self) -> Parse {
        self.compared(Self::cast, |symbol| match symbol {
            "<" => Some(Relation::Less),
            "<=" => Some(Relation::LessOrEqual),
            ">" => Some(Relation::Greater),
            ">=" => Some(Relation::GreaterOrEqual),
            _ => None,
        })
    }

    fn compared(&mut self, operand: fn(&mut Self) -> Parse, relation: fn(&str) -> Option<Relation>) -> Parse {
        let offset = self.offset();
        let first = operand(self)?;
        let mut rest = Vec::new();
        let mut last = None;
        while let &Token::Symbol(symbol) = self.token() {
            let Some(relation) = relation(symbol) else { break };
            last = Some(symbol);
            let offset = self.offset();
            self.step();
            rest.push(Comparison { offset, relation, operand: operand(self)? });
        }
        if rest.is_empty() {
            return Ok(first);
        }
        self.bare = last;
        Ok(Node { offset, kind: Kind::Compare { first: Box::new(first), rest } })
    }

    fn cast(&mut self) -> Parse {
        let offset = self.offset();
        let base = self.unary()?;
        if !self.accept_word("as") {
            return Ok(base);
        }
        let to = match self.token() {
            Token::Name("String") => CastTo::String,
            Token::Name("Number") => CastTo::Number,
            Token::Name("Boolean") => CastTo::Boolean,
            other => return Err(refusals::cast_type(other, self.offset())),
        };
        self.step();
        self.bare = None;
        Ok(Node { offset, kind: Kind::Cast { base: Box::new(base), to } })
    }
}

pub(super) fn arguments(count: usize) -> String {
    match count {
        0 => "no argument".to_owned(),
        1 => "1 argument".to_owned(),
        _ => format!("{count} arguments"),
    }
}

/// An encoding that is written out is checked when the configuration is loaded.
pub(super) fn check_charset(function: Function, second: &Node) -> Result<(), ExpressionError> {
    if !matches!(function, Function::ToBinary | Function::ToString) {
        return Ok(());
    }
    match &second.kind {
        Kind::Constant(Value::String(name)) if Charset::from_name(name).is_none() => {
            Err(ExpressionError::at(second.offset, format!("unknown encoding `{name}`"))
                .help(format!("supported are {}", Charset::NAMES.join(", "))))
        }
        _ => Ok(()),
    }
}
