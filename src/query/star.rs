//! `*` is the declared columns: the engine's own are there for who names them.
//!
//! DataFusion knows no hidden columns, so `o.*` becomes `o.* EXCLUDE (_topic, …)` before it is planned,
//! and `*` of a join becomes `o.*, p.*`.

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use crate::query::statement::value_of;

/// Which columns of a table are the engine's, by the table's name.
pub(crate) type SystemColumns<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// Leaves the engine's columns out of every `*` of `query`.
pub(crate) fn exclude_system_columns(query: &mut Query, system: SystemColumns<'_>) {
    let mut names = Vec::new();
    for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        exclude_system_columns(&mut table.query, system);
        names.push(value_of(&table.alias.name));
    }
    // A name of WITH hides a table.
    let visible =
        |name: &str| if names.iter().any(|hidden| hidden == name) { Vec::new() } else { system(name) };
    in_body(&mut query.body, &visible);
}

fn in_body(body: &mut SetExpr, system: SystemColumns<'_>) {
    match body {
        SetExpr::Select(select) => in_select(select, system),
        SetExpr::Query(query) => exclude_system_columns(query, system),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, system);
            in_body(right, system);
        }
        _ => {}
    }
}

/// A table in FROM.
struct Relation {
    /// What the SELECT calls it.
    name: Option<Ident>,
    /// Its columns that `*` leaves out: the engine's, and for a plain `*` those that USING has merged.
    system: Vec<String>,
    merged: Vec<String>,
}

fn in_select(select: &mut Select, system: SystemColumns<'_>) {
    let mut relations = Vec::new();
    select.from.iter_mut().for_each(|table| collect(table, system, &mut relations));
    let items = std::mem::take(&mut select.projection);
    for item in items {
        match item {
            SelectItem::Wildcard(options) if is_plain(&options) && relations.len() > 1 => {
                let named: Option<Vec<SelectItem>> = relations.iter().map(Relation::all).collect();
                match named.filter(|_| relations.iter().any(|relation| !relation.system.is_empty())) {
                    Some(named) => select.projection.extend(named),
                    None => select.projection.push(SelectItem::Wildcard(options)),
                }
            }
            SelectItem::Wildcard(mut options) => {
                if let [relation] = relations.as_slice() {
                    exclude(&mut options, &relation.system);
                }
                select.projection.push(SelectItem::Wildcard(options));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), mut options) => {
                let called = simple_name(&name);
                let is_it = |relation: &&Relation| relation.name.as_ref().map(value_of) == called;
                if let Some(relation) = relations.iter().find(is_it) {
                    exclude(&mut options, &relation.system);
                }
                let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                select.projection.push(SelectItem::QualifiedWildcard(kind, options));
            }
            other => select.projection.push(other),
        }
    }
}

impl Relation {
    /// `name.*` without what a plain `*` leaves out.
    fn all(&self) -> Option<SelectItem> {
        let name = ObjectName::from(vec![self.name.clone()?]);
        let mut options = WildcardAdditionalOptions::default();
        exclude(&mut options, &self.system);
        exclude(&mut options, &self.merged);
        Some(SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options))
    }
}

fn collect(table: &mut TableWithJoins, system: SystemColumns<'_>, relations: &mut Vec<Relation>) {
    collect_factor(&mut table.relation, system, relations);
    for join in &mut table.joins {
        let first = relations.len();
        collect_factor(&mut join.relation, system, relations);
        let constraint = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => constraint,
            _ => continue,
        };
        if let (JoinConstraint::Using(columns), Some(relation)) = (constraint, relations.get_mut(first)) {
            relation.merged = columns.iter().filter_map(simple_name).collect();
        }
    }
}

fn collect_factor(factor: &mut TableFactor, system: SystemColumns<'_>, relations: &mut Vec<Relation>) {
    match factor {
        TableFactor::Table { name, alias, .. } => {
            let table = simple_name(name);
            let own = || match name.0.as_slice() {
                [part] => part.as_ident().cloned(),
                _ => None,
            };
            relations.push(Relation {
                name: alias.as_ref().map(|alias| alias.name.clone()).or_else(own),
                system: table.map(|table| system(&table)).unwrap_or_default(),
                merged: Vec::new(),
            });
        }
        TableFactor::Derived { subquery, alias, .. } => {
            exclude_system_columns(subquery, system);
            let name = alias.as_ref().map(|alias| alias.name.clone());
            relations.push(Relation { name, system: Vec::new(), merged: Vec::new() });
        }
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            collect(table_with_joins, system, relations);
        }
        _ => relations.push(Relation { name: None, system: Vec::new(), merged: Vec::new() }),
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
}

/// Adds `columns` to what a `*` leaves out.
fn exclude(options: &mut WildcardAdditionalOptions, columns: &[String]) {
    let mut names = match options.opt_exclude.take() {
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
        None => Vec::new(),
    };
    let excepted: Vec<String> = options
        .opt_except
        .iter()
        .flat_map(|except| std::iter::once(&except.first_element).chain(&except.additional_elements))
        .map(value_of)
        .collect();
    for column in columns {
        let is_there = names.iter().filter_map(simple_name).any(|name| name == *column);
        if !is_there && !excepted.contains(column) {
            names.push(ObjectName::from(vec![Ident::new(column)]));
        }
    }
    options.opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
}

/// The name of a column or table as DataFusion reads it; `None` if it is qualified.
fn simple_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(value_of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn rewritten(sql: &str) -> String {
        let mut statements = Parser::parse_sql(&GenericDialect {}, sql).expect("parses");
        let Some(Statement::Query(query)) = statements.first_mut() else { panic!("no query") };
        exclude_system_columns(query, &|table| {
            if ["l", "r"].contains(&table) { vec!["_x".to_owned(), "_y".to_owned()] } else { Vec::new() }
        });
        query.to_string()
    }

    #[test]
    fn a_star_leaves_out_the_columns_of_the_engine() {
        for (sql, expected) in [
            ("SELECT * FROM l", "SELECT * EXCLUDE (_x, _y) FROM l"),
            (
                "SELECT a.*, b.k FROM L AS a JOIN v AS b ON true",
                "SELECT a.* EXCLUDE (_x, _y), b.k FROM L AS a JOIN v AS b ON true",
            ),
            ("SELECT L.* FROM l", "SELECT L.* EXCLUDE (_x, _y) FROM l"),
            ("SELECT *, 1 FROM l, r", "SELECT l.* EXCLUDE (_x, _y), r.* EXCLUDE (_x, _y), 1 FROM l, r"),
            (
                "SELECT * FROM l JOIN r USING (k)",
                "SELECT l.* EXCLUDE (_x, _y), r.* EXCLUDE (_x, _y, k) FROM l JOIN r USING(k)",
            ),
            ("SELECT * FROM (SELECT * FROM l) AS a", "SELECT * FROM (SELECT * EXCLUDE (_x, _y) FROM l) AS a"),
            ("SELECT * EXCLUDE (k, _x) FROM l", "SELECT * EXCLUDE (k, _x, _y) FROM l"),
            ("SELECT * EXCEPT (_x) FROM l", "SELECT * EXCLUDE (_y) EXCEPT (_x) FROM l"),
            ("WITH l AS (SELECT k FROM r) SELECT * FROM l", "WITH l AS (SELECT k FROM r) SELECT * FROM l"),
            ("SELECT * FROM v", "SELECT * FROM v"),
            ("SELECT * FROM v, w", "SELECT * FROM v, w"),
            (
                "SELECT _x FROM l UNION SELECT * FROM r",
                "SELECT _x FROM l UNION SELECT * EXCLUDE (_x, _y) FROM r",
            ),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
    }
}
