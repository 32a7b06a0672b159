//! Evaluation of a compiled expression against a scope (reference 7.4).

use super::{
    EvalError,
    ast::{CastTo, Key, Kind, Node, Operator, PATH_KEYS_MAX, Path, Relation, Variable},
    budget::{Budget, Failure},
    calls,
    charset::Charset,
    functions::Function,
    scope::{self, Scope},
    value::{Items, Value, whole},
};

type Outcome<'a> = Result<Value<'a>, EvalError>;

/// The value of an expression.
///
/// # Errors
/// Where the reference says "evaluation error"; also when the result is or holds a Binary (7.2).
pub fn evaluate<'a>(node: &'a Node, scope: &'a dyn Scope) -> Outcome<'a> {
    let evaluation = Evaluation { scope, budget: Budget::new() };
    let value = evaluation.value(node)?;
    if holds_binary(&value) {
        return Err(EvalError::new(
            node.offset,
            "the result is Binary; convert it with dw::util::Coercions::toString(…, 'UTF-8')",
        ));
    }
    Ok(value)
}

/// Borrowed lists come from constants and scopes, which hold no Binary.
fn holds_binary(value: &Value<'_>) -> bool {
    match value {
        Value::Binary(_) => true,
        Value::Array(Items::Owned(items)) => items.iter().any(holds_binary),
        _ => false,
    }
}

struct Evaluation<'a> {
    scope: &'a dyn Scope,
    budget: Budget,
}

impl<'a> Evaluation<'a> {
    fn value(&self, node: &'a Node) -> Outcome<'a> {
        match &node.kind {
            Kind::Constant(value) => Ok(value.borrowed()),
            Kind::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?;
                Ok(items.into())
            }
            Kind::Variable(variable) => self.variable(variable),
            Kind::Select { base, steps } => {
                let mut value = self.value(base)?;
                for step in steps {
                    let selected = match &step.key {
                        Key::Name(name) => by_name(value, name, &self.budget),
                        Key::By(key) => by_value(value, self.value(key)?, &self.budget),
                    };
                    value = selected.map_err(|failure| EvalError::failure(step.offset, failure))?;
                }
                Ok(value)
            }
            Kind::Not(operand) => Ok((!self.truth(operand, "not")?).into()),
            Kind::And(operands) => self.connect(operands, "and", false),
            Kind::Or(operands) => self.connect(operands, "or", true),
            Kind::Compare { first, rest } => {
                let mut value = self.value(first)?;
                for comparison in rest {
                    let operand = self.value(&comparison.operand)?;
                    value = compare(comparison.relation, &value, &operand)
                        .map_err(|failure| EvalError::failure(comparison.offset, failure))?
                        .into();
                }
                Ok(value)
            }
            Kind::Cast { base, to } => {
                cast(self.value(base)?, *to).map_err(|failure| EvalError::failure(node.offset, failure))
            }
            Kind::If { condition, yes, no } => {
                let branch = if self.truth(condition, "if")? { yes } else { no };
                self.value(branch)
            }
            Kind::Chain { first, links } => {
                let mut value = self.value(first)?;
                for link in links {
                    value = match link.operator {
                        Operator::Default if value.is_null() => self.value(&link.operand)?,
                        Operator::Default => value,
                        Operator::Call(function) => {
                            let operand = self.value(&link.operand)?;
                            calls::call_two(function, value, operand, &self.budget)
                                .map_err(|failure| EvalError::failure(link.offset, failure))?
                        }
                    };
                }
                Ok(value)
            }
            Kind::Call { function, arguments } => {
                self.call(*function, arguments)?.map_err(|failure| EvalError::failure(node.offset, failure))
            }
        }
    }

    fn call(
        &self,
        function: Function,
        arguments: &'a [Node],
    ) -> Result<Result<Value<'a>, Failure>, EvalError> {
        Ok(match arguments {
            [one] => calls::call_one(function, self.value(one)?, &self.budget),
            [left, right] => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                calls::call_two(function, left, right, &self.budget)
            }
            // The parser checks arities, and `uuid` is the only function without arguments.
            _ => Ok(calls::uuid(self.scope.random())),
        })
    }

    /// `and`, `or`: left to right, stopping at the first operand that is `decisive`.
    fn connect(&self, operands: &'a [Node], operator: &str, decisive: bool) -> Outcome<'a> {
        for operand in operands {
            if self.truth(operand, operator)? == decisive {
                return Ok(decisive.into());
            }
        }
        Ok((!decisive).into())
    }

    /// A value in boolean context: null is false, anything else but a Boolean an error.
    fn truth(&self, node: &'a Node, wanted_by: &str) -> Result<bool, EvalError> {
        match self.value(node)? {
            Value::Boolean(flag) => Ok(flag),
            Value::Null => Ok(false),
            other => Err(EvalError::new(
                node.offset,
                format!("`{wanted_by}` needs a Boolean, this is of type {}", other.type_name()),
            )),
        }
    }

    fn variable(&self, variable: &'a Variable) -> Outcome<'a> {
        let scope = self.scope;
        Ok(match variable {
            Variable::Attributes => scope::all_attributes(scope),
            Variable::Attribute(attribute) => scope.attribute(*attribute),
            Variable::Unknown => Value::Null,
            Variable::Headers => scope.headers(),
            Variable::Header(name) => scope.header(name),
            Variable::HeaderBy(name) => match self.value(name)? {
                Value::String(text) if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                    scope.header(&text.to_ascii_lowercase())
                }
                Value::String(text) => scope.header(&text),
                other => {
                    return Err(EvalError::failure(name.offset, no_selection("Object", other.type_name())));
                }
            },
            Variable::QueryParam(name) => scope.query_param(name),
            Variable::Payload => scope.payload().borrowed(),
            Variable::Authentication(path) => with_path(path, |path| scope.authentication(path)),
            Variable::Var(path) => with_path(path, |path| scope.var(path)),
        })
    }
}

/// The path as the slice that scopes match on, without an allocation.
fn with_path<T>(path: &Path, read: impl FnOnce(&[&str]) -> T) -> T {
    let mut keys = [""; PATH_KEYS_MAX];
    let mut length = 0;
    for (place, key) in keys.iter_mut().zip(path.iter()) {
        *place = key;
        length += 1;
    }
    read(&keys[..length])
}

fn by_name<'a>(value: Value<'a>, name: &str, budget: &Budget) -> Result<Value<'a>, Failure> {
    if let Value::Array(items) = &value {
        budget.spend_items(items.len())?;
    }
    value.member(name).map_err(|value| no_selection(value.type_name(), "String"))
}

fn by_value<'a>(value: Value<'a>, key: Value<'a>, budget: &Budget) -> Result<Value<'a>, Failure> {
    match (value, key) {
        (Value::Null, _) => Ok(Value::Null),
        (value, Value::String(name)) => by_name(value, &name, budget),
        (Value::Array(items), Value::Number(index)) => Ok(match (place(index, items.len())?, items) {
            (None, _) => Value::Null,
            (Some(at), Items::Borrowed(items)) => items[at].borrowed(),
            (Some(at), Items::Owned(mut items)) => items.swap_remove(at),
        }),
        (Value::String(text), Value::Number(index)) => {
            let length = if index < 0.0 { text.chars().count() } else { text.len() };
            let Some(at) = place(index, length)? else { return Ok(Value::Null) };
            Ok(text.chars().nth(at).map(String::from).into())
        }
        (value, key) => Err(no_selection(value.type_name(), key.type_name())),
    }
}

/// The place of an index that may count from the end; `None` outside.
fn place(index: f64, length: usize) -> Result<Option<usize>, Failure> {
    if index.fract() != 0.0 {
        return Err(Failure::new("an index must be a whole number"));
    }
    let Some(index) = whole(index) else { return Ok(None) };
    let place = if index < 0 { index + length as i64 } else { index };
    Ok(usize::try_from(place).ok().filter(|place| *place < length))
}

fn no_selection(of: &str, by: &str) -> Failure {
    Failure::new(format!("cannot select from {of} by {by}"))
}

fn compare(relation: Relation, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Failure> {
    let order = match (relation, left, right) {
        (Relation::Equal, ..) => return Ok(left == right),
        (Relation::NotEqual, ..) => return Ok(left != right),
        (_, Value::Number(left), Value::Number(right)) => left.partial_cmp(right),
        (_, Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    };
    let Some(order) = order else {
        return Err(Failure::new(format!(
            "only two numbers or two strings have an order; these are {} and {}",
            left.type_name(),
            right.type_name()
        )));
    };
    Ok(match relation {
        Relation::Less => order.is_lt(),
        Relation::LessOrEqual => order.is_le(),
        Relation::Greater => order.is_gt(),
        Relation::GreaterOrEqual => order.is_ge(),
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
    })
}

fn cast<'a>(value: Value<'a>, to: CastTo) -> Result<Value<'a>, Failure> {
    match (to, value) {
        (CastTo::String, value @ Value::String(_))
        | (CastTo::Number, value @ Value::Number(_))
        | (CastTo::Boolean, value @ Value::Boolean(_)) => Ok(value),
        (CastTo::String, value @ (Value::Number(_) | Value::Boolean(_))) => {
            Ok(value.to_text().map(std::borrow::Cow::into_owned).into())
        }
        (CastTo::String, Value::Binary(bytes)) => {
            Charset::Utf8.decode(bytes).map(Value::String).map_err(Failure::new)
        }
        (CastTo::Number, Value::String(text)) => match decimal(text.trim()) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(Failure::new("the String is not a number")),
        },
        (CastTo::Boolean, Value::String(text)) => match text.trim() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(Failure::new("the String is neither `true` nor `false`")),
        },
        (_, Value::Null) => {
            Err(Failure::new("null cannot be converted; give it an alternative with `default`"))
        }
        (_, value) => Err(Failure::new(format!("a value of type {} cannot be converted", value.type_name()))),
    }
}

/// A number in decimal notation. (Rust would also read `inf` and `nan`.)
fn decimal(text: &str) -> Option<f64> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}
