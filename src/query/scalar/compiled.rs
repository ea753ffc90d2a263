//! A resolved expression as one function of DataFusion, so that nothing rewrites what is in it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use super::node::Node;
use super::vector::column;

/// A function of the columns and subqueries that an expression mentions.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The expression as it was written.
    written: Expr,
    /// The same for people.
    text: String,
    node: Arc<Node>,
    result: DataType,
    signature: Signature,
}

impl Compiled {
    /// The call of `node`, whose values are held by `result`.
    pub(crate) fn call(
        written: Expr,
        text: String,
        node: Node,
        result: DataType,
        arguments: Vec<Expr>,
    ) -> Expr {
        let any = TypeSignature::OneOf(vec![TypeSignature::VariadicAny, TypeSignature::Nullary]);
        let signature = Signature::new(any, Volatility::Immutable);
        ScalarUDF::from(Self { written, text, node: Arc::new(node), result, signature }).call(arguments)
    }
}

/// What was compiled into `expr`, if it is a compiled expression.
pub(crate) fn written(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(function) => {
            function.func.inner().downcast_ref::<Compiled>().map(|it| &it.written)
        }
        _ => None,
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
    }
}

impl Eq for Compiled {}

impl Hash for Compiled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl ScalarUDFImpl for Compiled {
    fn name(&self) -> &str {
        &self.text
    }

    /// The SQL, for people who read plans.
    fn display_name(&self, _arguments: &[Expr]) -> DataFusionResult<String> {
        Ok(self.text.clone())
    }

    fn schema_name(&self, _arguments: &[Expr]) -> DataFusionResult<String> {
        Ok(self.text.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.result.clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(Field::new(&self.text, self.result.clone(), self.node.nullable)))
    }

    /// Row by row: the result of a row never depends on its neighbours.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let columns = args
            .args
            .into_iter()
            .map(|argument| argument.into_array(args.number_rows))
            .collect::<DataFusionResult<Vec<ArrayRef>>>()?;
        let values = (0..args.number_rows)
            .map(|row| self.node.evaluate(&columns, row))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|fault| DataFusionError::Execution(fault.message().to_owned()))?;
        let values = column(values, &self.result).map_err(|error| match error {
            ArrowError::ComputeError(message) => DataFusionError::Execution(message),
            other => DataFusionError::from(other),
        })?;
        Ok(ColumnarValue::Array(values))
    }
}
