//! DataFusion, confined: what SQL files may use, and plans that are kept from batch to batch.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::DateTime;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionConfig;

use crate::error::Result;

/// What one query may allocate, in bytes.
const QUERY_MEMORY_BYTES: usize = 2 << 30;

/// A session that knows `tables` and nothing else: no files, no network, no table functions, no
/// recursion, no spilling to disk. Number literals are decimals, plans are for one partition.
pub(crate) fn confined(tables: Vec<(String, Arc<dyn TableProvider>)>) -> Result<SessionState> {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.enable_recursive_ctes = false;
    options.execution.time_zone = Some("+00:00".to_owned());
    // A kept plan must not carry one batch's values into the next.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(QUERY_MEMORY_BYTES)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(&runtime))
        .with_default_features()
        .build();
    state.table_factories_mut().clear();
    let functions: Vec<String> = state.table_functions().keys().cloned().collect();
    for function in functions {
        state.deregister_udtf(&function)?;
    }
    let files = datafusion::execution::object_store::ObjectStoreUrl::local_filesystem();
    runtime.deregister_object_store(files.as_ref())?;
    let context = SessionContext::new_with_state(state);
    for (name, table) in tables {
        context.register_table(datafusion::common::TableReference::bare(name), table)?;
    }
    Ok(context.state())
}

/// A table whose rows are swapped in before each run of a plan over it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    schema: SchemaRef,
    rows: Arc<Mutex<Option<RecordBatch>>>,
}

impl Slot {
    /// An empty table of `schema`.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, rows: Arc::default() }
    }

    /// Replaces its rows; they must have the slot's schema.
    pub(crate) fn set(&self, rows: Option<RecordBatch>) {
        *self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = rows;
    }

    /// The columns that plans see.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The table to plan against.
    pub(crate) fn table(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(self.clone())])?))
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let stream = futures::stream::iter(rows.into_iter().map(Ok));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// A plan that runs once in each batch.
///
/// The physical plan is kept, which costs a fraction of planning again; one that asks for the time
/// is planned again, since DataFusion folds `now()` into the plan.
#[derive(Debug)]
pub(crate) struct Prepared {
    state: SessionState,
    logical: LogicalPlan,
    kept: Option<Arc<dyn ExecutionPlan>>,
}

impl Prepared {
    /// Plans `logical` down to the physical plan, so that nothing is left to be refused at run time.
    pub(crate) fn try_new(state: &SessionState, logical: LogicalPlan) -> DataFusionResult<Self> {
        let physical = physical_plan(state, &logical)?;
        let kept = if least_volatility(&logical)? == Volatility::Immutable { Some(physical) } else { None };
        Ok(Self { state: state.clone(), logical, kept })
    }

    /// Runs it over what the slots hold, with `now_ms` as the time; one run at a time.
    pub(crate) async fn run(&self, now_ms: i64) -> DataFusionResult<RecordBatch> {
        let plan = match &self.kept {
            // Without the reset a hash join answers from its first build side.
            Some(plan) => reset_plan_states(Arc::clone(plan))?,
            None => {
                let mut state = self.state.clone();
                state.execution_props_mut().query_execution_start_time =
                    DateTime::from_timestamp_millis(now_ms);
                physical_plan(&state, &self.logical)?
            }
        };
        let schema = plan.schema();
        let batches = collect(plan, self.state.task_ctx()).await?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }
}

fn physical_plan(state: &SessionState, logical: &LogicalPlan) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let optimized = state.optimize(logical)?;
    // All of this is computation, no I/O: the future is ready at once.
    futures::executor::block_on(state.query_planner().create_physical_plan(&optimized, state))
}

/// The least stable function of a plan: `Immutable` when it has none.
pub(crate) fn least_volatility(plan: &LogicalPlan) -> DataFusionResult<Volatility> {
    let mut worst = Volatility::Immutable;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let volatility = match expr {
                    Expr::ScalarFunction(function) => function.func.signature().volatility,
                    Expr::AggregateFunction(function) => function.func.signature().volatility,
                    Expr::WindowFunction(function) => function.fun.signature().volatility,
                    _ => Volatility::Immutable,
                };
                worst = match (worst, volatility) {
                    (Volatility::Volatile, _) | (_, Volatility::Volatile) => Volatility::Volatile,
                    (Volatility::Stable, _) | (_, Volatility::Stable) => Volatility::Stable,
                    _ => Volatility::Immutable,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    })?;
    Ok(worst)
}
