//! Every route of the API that takes a date, with invalid and extreme dates.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::api::{Api, expect_status};
use tests::company::Company;

/// Invalid dates, and dates out of range.
const WRONG: [&str; 6] =
    ["0001-01-01", "9999-12-31", "-9999-01-01", "-009998-01-01", "2026-02-30", "yesterday"];
/// The first and the last valid date.
const LIMITS: [&str; 2] = ["1900-01-01", "2199-12-31"];

/// A route of the OpenAPI document.
struct Route<'a> {
    document: &'a Value,
    method: Method,
    path: &'a str,
    operation: &'a Value,
}

impl<'a> Route<'a> {
    fn all(document: &'a Value) -> Result<Vec<Self>> {
        let mut routes = Vec::new();
        for (path, operations) in document["paths"].as_object().context("paths")? {
            for (method, operation) in operations.as_object().context("operations")? {
                let method = method.to_uppercase().parse()?;
                routes.push(Self { document, method, path, operation });
            }
        }
        Ok(routes)
    }

    /// Names of its parameters in "path" or "query".
    fn parameters(&self, there: &str) -> Vec<&'a str> {
        let parameters = self.operation["parameters"].as_array().into_iter().flatten();
        let parameters = parameters.filter(|parameter| parameter["in"] == there);
        parameters.filter_map(|parameter| parameter["name"].as_str()).collect()
    }

    /// Whether its path or query has a date.
    fn is_dated(&self) -> bool {
        let names = [self.parameters("path"), self.parameters("query")].concat();
        names.iter().any(|name| ["date", "from", "to"].contains(name))
    }

    /// Its path and query with this date in all places.
    fn address(&self, date: &str) -> String {
        let fill = |name: &str| match name {
            "date" => date.to_owned(),
            "report" => "timesheet".to_owned(),
            "number" => "101".to_owned(),
            "id" => if self.path.contains("unplaced") { ID } else { "1" }.to_owned(),
            _ => "x".to_owned(),
        };
        let mut path = self.path.trim_start_matches("/api/v1").to_owned();
        for name in self.parameters("path") {
            path = path.replace(&format!("{{{name}}}"), &fill(name));
        }
        let dates = self.parameters("query").into_iter().filter(|name| ["date", "from", "to"].contains(name));
        let query: Vec<String> = dates.map(|name| format!("{name}={date}")).collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// A body with this date in all places; null without a JSON body.
    fn body(&self, date: &str) -> Value {
        let schema = &self.operation["requestBody"]["content"]["application/json"]["schema"];
        filled(self.document, schema, date)
    }
}

/// The id of an undated punch.
const ID: &str = "00000000-0000-7000-8000-000000000000";
/// Inserts that punch.
const UNPLACED: &str = "insert into unplaced (id, device, epoch, seq, person, boot, monotonic_us, claimed_us,
        direction, distance, hash, received_at)
    select '00000000-0000-7000-8000-000000000000', t.device, 1, 1, p.id, 'boot', 0, 0, 'in', 0, '', now()
    from people p, terminals t where p.number = '101'";

/// A value that fits a schema.
fn filled(document: &Value, schema: &Value, date: &str) -> Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return filled(document, &document["components"]["schemas"][name], date);
    }
    let choice = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|key| schema[key].as_array()?.last());
    if let Some(choice) = choice {
        return filled(document, choice, date);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("null");
    match (kind, schema["format"].as_str()) {
        ("object", _) => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let filled = properties.map(|(name, schema)| (name.clone(), filled(document, schema, date)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
        ("array", _) => json!([filled(document, &schema["items"], date)]),
        ("string", Some("date")) => json!(date),
        ("string", Some("date-time")) => json!(format!("{date}T00:00:00Z")),
        ("string", Some("uuid")) => json!(ID),
        ("string", _) if schema["enum"].is_array() => schema["enum"][0].clone(),
        ("string", _) if schema["example"].as_str().is_some_and(|text| text.contains('T')) => {
            json!(format!("{date}T00:00:00Z"))
        }
        ("string", _) if schema["example"].is_string() => schema["example"].clone(),
        ("string", _) => json!("101"),
        ("integer", _) => json!(1),
        ("boolean", _) => json!(true),
        _ => Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_dates_are_client_errors_on_every_route() -> Result<()> {
    let company = Company::open().await?;
    company.add_people(&[("100", "Boss"), ("101", "Ada")]).await?;
    let admin = company.login("admin", "admin", Some("100")).await?;
    company.hub.cluster().execute(UNPLACED).await?;
    let document = expect_status(200, Api::anonymous(&company.hub)?.get("/openapi.json").await?)?;
    let (mut dated, mut bodies) = (0, 0);
    for route in Route::all(&document)? {
        let holds = |date: &str| route.body(date).to_string().contains(date);
        if !route.is_dated() && !holds("2026-02-30") {
            continue;
        }
        for date in WRONG.into_iter().chain(LIMITS) {
            let (address, body) = (route.address(date), route.body(date));
            let (status, answer) = admin.send(route.method.clone(), &address, &body).await?;
            let said = format!("{} {address} {body}: {status} {answer}", route.method);
            ensure!(!status.is_server_error(), "{said}");
            if WRONG.contains(&date) && route.is_dated() {
                ensure!(status == 400 && answer["error"].is_string(), "{said}");
            }
        }
        dated += i32::from(route.is_dated());
        bodies += i32::from(holds("2026-02-30"));
    }
    ensure!(dated >= 15 && bodies >= 7, "{dated} routes with dates, {bodies} bodies");
    for report in
        ["daily", "lateness", "absence", "overtime", "exceptions", "presence", "punctuality", "silence"]
    {
        for date in LIMITS {
            for format in ["json", "csv", "xlsx"] {
                let path = format!("/reports/{report}?from={date}&to={date}&format={format}");
                let (status, _) = admin.get(&path).await?;
                ensure!(status == 200, "{path}: {status}");
            }
        }
    }
    ensure!(!company.hub.logged().contains("request failed"), "{}", company.hub.logged());
    Ok(())
}
