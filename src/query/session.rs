//! DataFusion, confined: what SQL files may use, and plans that are kept from batch to batch.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider,
};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;

use crate::error::{Error, Result};
use crate::query::scalar::{Now, SyntaxPlanner, register};

/// What the queries of a process may allocate together, in bytes.
const QUERY_MEMORY_BYTES: usize = 2 << 30;

/// A session that knows `tables` and nothing else: no files, no network, no table functions, no
/// recursion, no spilling to disk. Number literals are decimals, plans are for one partition.
pub(crate) fn confined(tables: Vec<(String, Arc<dyn TableProvider>)>) -> Result<SessionState> {
    let empty = empty()?;
    let names = &empty.config_options().catalog;
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new()))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(names.default_catalog.clone(), Arc::new(catalog));
    let state =
        SessionStateBuilder::new_from_existing(empty.clone()).with_catalog_list(Arc::new(catalogs)).build();
    let context = SessionContext::new_with_state(state);
    for (name, table) in tables {
        context.register_table(datafusion::common::TableReference::bare(name), table)?;
    }
    Ok(context.state())
}

/// The confined session without tables; made once, since registering DataFusion's functions takes longer
/// than planning a query.
fn empty() -> Result<SessionState> {
    static EMPTY: OnceLock<SessionState> = OnceLock::new();
    if let Some(state) = EMPTY.get() {
        return Ok(state.clone());
    }
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
        .with_optimizer_rules(relational_rules())
        .with_expr_planners(expr_planners())
        .build();
    register(&mut state)?;
    state.table_factories_mut().clear();
    let functions: Vec<String> = state.table_functions().keys().cloned().collect();
    for function in functions {
        state.deregister_udtf(&function)?;
    }
    let files = datafusion::execution::object_store::ObjectStoreUrl::local_filesystem();
    runtime.deregister_object_store(files.as_ref())?;
    Ok(EMPTY.get_or_init(|| state).clone())
}

/// What the syntax of EXTRACT, of lists and of the like stands for; ours come first.
fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let ours: Arc<dyn ExprPlanner> = Arc::new(SyntaxPlanner);
    std::iter::once(ours).chain(SessionStateDefaults::default_expr_planners()).collect()
}

/// What DataFusion may rewrite: subqueries and cross products into joins, joins by their keys, where a LIMIT
/// stands. Expressions are compiled before ([`scalar`](crate::query::scalar)), and nothing here looks into
/// them.
fn relational_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        // A LIMIT that does not reach its ORDER BY would be of any rows.
        Arc::new(PushDownLimit::new()),
    ]
}

/// A table whose rows come with each run of a plan over it.
#[derive(Clone, Debug)]
pub(crate) struct RunTable {
    schema: SchemaRef,
}

/// The rows of one run, in its context: runs of one plan on several cores don't see each other's.
struct RunRows(RecordBatch);

impl RunTable {
    /// A table of `schema`.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
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

impl PartitionStream for RunTable {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = context.session_config().get_extension::<RunRows>().map(|rows| rows.0.clone());
        let stream = futures::stream::iter(rows.into_iter().map(Ok));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// A query that runs in each batch.
///
/// Physical plans are kept, which costs a fraction of planning again. One has state of its own while it runs (the
/// build side of a join; the results of scalar subqueries, which copies of a plan share even after a reset), so each
/// run has a plan to itself: an idle one, or a new one where as many tasks of a batch ask at once. The time that
/// `now()` gives is the batch's and the same for them all.
#[derive(Debug)]
pub(crate) struct Prepared {
    state: SessionState,
    logical: LogicalPlan,
    idle: Mutex<Vec<Arc<dyn ExecutionPlan>>>,
    description: String,
    now: Now,
}

impl Prepared {
    /// Plans `logical`, whose expressions are compiled, down to the physical plan, so that nothing is left to
    /// be refused at run time.
    pub(crate) fn try_new(state: &SessionState, logical: &LogicalPlan, now: Now) -> DataFusionResult<Self> {
        let plan = physical_plan(state, logical)?;
        let description = displayable(plan.as_ref()).indent(false).to_string();
        Ok(Self {
            state: state.clone(),
            logical: logical.clone(),
            idle: Mutex::new(vec![plan]),
            description,
            now,
        })
    }

    /// Runs it over `rows`; where that fails over halves of them, until the rows that fail stand alone: the others are computed as ever. Whatever a plan says of a row travels with its
    /// `_row`, so the results need no order.
    ///
    /// # Errors
    /// Lack of memory and bugs stop the batch; an error that comes from a row's values is part of the result.
    pub(crate) async fn run_row_wise(&self, rows: &RecordBatch, now_ms: i64) -> Result<RowWise> {
        let mut outcome = RowWise { batches: Vec::new(), failed: Vec::new() };
        let mut todo = vec![(0, rows.num_rows())];
        while let Some((first, length)) = todo.pop() {
            if length == 0 {
                continue;
            }
            match self.run(rows.slice(first, length), now_ms).await {
                Ok(batch) => outcome.batches.push(batch),
                Err(error) => {
                    let error = data_error(&error)?;
                    if length == 1 {
                        outcome.failed.push((first, error));
                    } else {
                        let half = length / 2;
                        todo.extend([(first + half, length - half), (first, half)]);
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// The physical plan as text.
    pub(crate) fn describe(&self) -> String {
        self.description.clone()
    }

    /// Runs it over `rows`, which have the schema of its [`RunTable`], with `now_ms` as the time.
    pub(crate) async fn run(&self, rows: RecordBatch, now_ms: i64) -> DataFusionResult<RecordBatch> {
        self.now.store(now_ms, Ordering::Relaxed);
        let idle = self.idle().pop();
        let plan = idle.map_or_else(|| physical_plan(&self.state, &self.logical), Ok)?;
        let result = self.run_plan(&plan, rows).await;
        self.idle().push(plan);
        result
    }

    async fn run_plan(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        rows: RecordBatch,
    ) -> DataFusionResult<RecordBatch> {
        // Without the reset a hash join answers from its first build side.
        let plan = reset_plan_states(Arc::clone(plan))?;
        let schema = plan.schema();
        let batches = collect(plan, Arc::new(self.context_of(rows))).await?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<dyn ExecutionPlan>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn context_of(&self, rows: RecordBatch) -> TaskContext {
        let context = TaskContext::from(&self.state);
        let config = context.session_config().clone().with_extension(Arc::new(RunRows(rows)));
        context.with_session_config(config)
    }
}

/// What a plan made of rows.
#[derive(Debug)]
pub(crate) struct RowWise {
    /// Results, in the order of the rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// The index of each row at which the plan fails, with the error.
    pub(crate) failed: Vec<(usize, String)>,
}

/// The text of an error that comes from the data; lack of memory and bugs stop the batch instead.
pub(crate) fn data_error(error: &DataFusionError) -> Result<String> {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_)
        | DataFusionError::Internal(_)
        | DataFusionError::IoError(_) => {
            Err(Error::internal("a query could not run").because(error.strip_backtrace()))
        }
        DataFusionError::ArrowError(error, _) => Ok(error.to_string()),
        DataFusionError::Execution(fault) => Ok(fault.clone()),
        other => Ok(other.strip_backtrace()),
    }
}

fn physical_plan(state: &SessionState, logical: &LogicalPlan) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let optimized = state.optimize(logical)?;
    wait_for(state.query_planner().create_physical_plan(&optimized, state))
}

/// Plans one statement, without optimising it.
pub(crate) fn plan_statement(state: &SessionState, statement: Statement) -> DataFusionResult<LogicalPlan> {
    wait_for(state.statement_to_plan(statement))
}

/// Waits for planning, which is computation and no I/O.
///
/// DataFusion's planner takes locks of tokio, and those give way once the task's budget is used up; here
/// nobody would renew it, and the thread would turn for ever.
fn wait_for<F: Future>(planning: F) -> F::Output {
    futures::executor::block_on(tokio::task::unconstrained(planning))
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
