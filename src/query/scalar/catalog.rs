//! What names mean while DataFusion plans a statement: the functions of SQL files, and nothing else.
//!
//! DataFusion resolves names and tables; what an expression computes is decided by [`Binder`](super::bind::Binder).
//! So a function is only a name here, with the type of its result, and never runs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::arithmetic::{OPERATOR, OPERATORS, arithmetic_of, operator_of};
use super::functions::{NAMES, NOW, call};
use super::node::{Node, Now};
use super::types::SqlType;
use super::value::Value;

/// Never the same at a replay; they have names so that the refusal can say so.
const VOLATILE: &[&str] = &["random", "uuid", "gen_random_uuid"];

/// The aggregates of subqueries over reference tables whose results are PostgreSQL's.
const AGGREGATES: &[&str] = &["count", "sum", "min", "max", "bool_and", "bool_or", "string_agg"];

/// Replaces the functions that a session knows.
pub(crate) fn register(state: &mut SessionState) -> DataFusionResult<()> {
    let known: Vec<String> = state.scalar_functions().keys().cloned().collect();
    for name in known {
        state.deregister_udf(&name)?;
    }
    let aggregates: Vec<String> = state.aggregate_functions().keys().cloned().collect();
    for name in aggregates.iter().filter(|name| !AGGREGATES.contains(&name.as_str())) {
        state.deregister_udaf(name)?;
    }
    let mut add = |names: &[&str], volatility: Volatility| -> DataFusionResult<()> {
        for name in names {
            state.register_udf(Arc::new(ScalarUDF::from(Named::new(name, volatility))))?;
        }
        Ok(())
    };
    for group in NAMES {
        add(group, Volatility::Immutable)?;
    }
    add(NOW, Volatility::Stable)?;
    add(VOLATILE, Volatility::Volatile)
}

/// A function by its name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Named {
    name: String,
    signature: Signature,
}

impl Named {
    fn new(name: &str, volatility: Volatility) -> Self {
        let any = TypeSignature::OneOf(vec![TypeSignature::VariadicAny, TypeSignature::Nullary]);
        Self { name: name.to_owned(), signature: Signature::new(any, volatility) }
    }
}

impl ScalarUDFImpl for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Null)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let arguments: Vec<Node> = args
            .arg_fields
            .iter()
            .zip(args.scalar_arguments)
            .map(|(field, constant)| match constant {
                Some(ScalarValue::Utf8(Some(text))) => {
                    Node::literal(Value::text(text.clone()), SqlType::Unknown)
                }
                Some(ScalarValue::Int64(Some(value))) => Node::literal(Value::Int(*value), SqlType::Int(4)),
                _ => Node { nullable: true, ..Node::literal(Value::Null, SqlType::of(field.data_type())) },
            })
            .collect();
        let result = match operator_of(&self.name) {
            Some(op) if op.supports_propagation() => {
                return Ok(Arc::new(Field::new(&self.name, DataType::Boolean, true)));
            }
            Some(op) => arithmetic_of(arguments, op),
            None => call(&self.name, arguments, &Now::default()),
        };
        // A call that means nothing is refused later, with its place and advice.
        let sql_type = result.map_or(SqlType::Unknown, |node| node.sql_type);
        Ok(Arc::new(Field::new(&self.name, sql_type.stand_in(), true)))
    }

    /// Only where DataFusion looks for the bounds of a join among constants.
    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(DataFusionError::Execution(format!("{} is not known before it is compiled", self.name)))
    }
}

/// Calls of our own functions where SQL has a syntax of its own: EXTRACT, POSITION, SUBSTRING.
#[derive(Debug)]
pub(crate) struct SyntaxPlanner;

fn named(name: &str, arguments: Vec<Expr>) -> Expr {
    ScalarUDF::from(Named::new(name, Volatility::Immutable)).call(arguments)
}

impl ExprPlanner for SyntaxPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        let op = match expr.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        // A whole number of days beside a date, say: DataFusion has no such operator, PostgreSQL has.
        let as_it_stands = datafusion::logical_expr::binary_expr(expr.left.clone(), op, expr.right.clone());
        let is_quoted = |side: &Expr| matches!(side, Expr::Literal(ScalarValue::Utf8(Some(_)), _));
        let is_ours = !op.supports_propagation() || is_quoted(&expr.left) || is_quoted(&expr.right);
        if !is_ours || as_it_stands.get_type(schema).is_ok() {
            return Ok(PlannerResult::Original(expr));
        }
        let sign = OPERATORS.iter().find(|(_, known)| *known == op).map_or("+", |(sign, _)| *sign);
        Ok(PlannerResult::Planned(named(&format!("{OPERATOR}{sign}"), vec![expr.left, expr.right])))
    }

    fn plan_extract(&self, arguments: Vec<Expr>) -> DataFusionResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(named("extract", arguments)))
    }

    fn plan_position(&self, arguments: Vec<Expr>) -> DataFusionResult<PlannerResult<Vec<Expr>>> {
        // POSITION(part IN text) comes as strpos(text, part).
        Ok(PlannerResult::Planned(named("strpos", arguments)))
    }

    fn plan_substring(&self, arguments: Vec<Expr>) -> DataFusionResult<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(named("substr", arguments)))
    }
}
