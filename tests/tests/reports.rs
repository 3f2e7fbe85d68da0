//! Every report in every format: names are unchanged, and no cell becomes a formula.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use calamine::{Data, Reader, Xlsx};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tests::api::{Api, expect_status};
use tests::calc;
use tests::company::{Company, DEVICE};
use tests::dir::TestDir;
use tests::hub::Hub;

/// Names in many scripts, and names that spreadsheets may take for formulas.
const NAMES: [&str; 11] = [
    "Łukasz Ångström-Çelik",
    "Ελένη Παπαδοπούλου",
    "Юлия Щукина",
    "李小龍",
    "مريم العلي",
    "שרה כהן",
    "=HYPERLINK(\"http://x.example\")",
    "+49 30 1234",
    "-1 Müller",
    "@SUM(A1:A9)",
    "Ada;=1+1",
];
/// Reports with names of people, and their dates.
const OF_PEOPLE: [&str; 7] =
    ["daily", "timesheet", "lateness", "absence", "overtime", "exceptions", "presence"];

/// A shift from 9 to 5 every day. On the 3rd everybody comes late and does not punch out, on the 4th everybody is absent,
/// and an hour ago everybody came.
const DAYS: &str = r#"
    insert into terminals (device, name, state, certificate_sha256, expires_at, reported_through)
        values (repeat('0', 32), 'Door', 'accepted', '\x00', now() + interval '1 year', now());
    insert into shifts (name, rules) values ('Early', '{"start": "09:00", "end": "17:00"}');
    insert into schedules (name, anchor, cycle_days) values ('Daily', '2025-01-06', 1);
    insert into schedule_days (schedule, day, shift) select c.id, 0, s.id from schedules c, shifts s;
    insert into assignments (person, schedule, from_date, to_date)
        select p.id, c.id, '2025-03-03', '2025-03-04' from people p, schedules c;
    insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
        select gen_random_uuid(), repeat('0', 32), 1, row_number() over (), p.id, t.at, 'synchronised', 'unknown', 0, '\x00'
        from people p, unnest(array['2025-03-03 09:30+01'::timestamptz, now() - interval '1 hour']) as t (at);
"#;

/// A report as JSON on its date.
async fn get_report(hr: &Api, report: &str, format: &str, more: &str) -> Result<Response> {
    let date = if report == "absence" { "2025-03-04" } else { "2025-03-03" };
    let path = format!("/reports/{report}?from={date}&to={date}&format={format}{more}");
    Ok(hr.request(Method::GET, &path).send().await?)
}

/// A report in a format; checks its content type.
async fn report_bytes(hr: &Api, name: &str, format: &str, kind: &str) -> Result<Vec<u8>> {
    let answer = get_report(hr, name, format, "").await?;
    let status = answer.status();
    let found = answer.headers()["content-type"].to_str()?.to_owned();
    let bytes = answer.bytes().await?.to_vec();
    let shown = String::from_utf8_lossy(&bytes).chars().take(300).collect::<String>();
    ensure!(status == StatusCode::OK && found.starts_with(kind), "{name}: {status} {found} {shown}");
    Ok(bytes)
}

async fn company(dir: &TestDir) -> Result<Hub> {
    let hub = Hub::start_new(dir)?;
    hub.account("hr", "hr", None)?;
    let mut conn = hub.cluster().connect().await?;
    for (number, name) in (1001..).zip(NAMES) {
        let person = "insert into people (id, number, name) values (gen_random_uuid(), $1::int::text, $2)";
        sqlx::query(person).bind(number).bind(name).execute(&mut conn).await?;
    }
    hub.cluster().execute(DAYS).await?;
    hub.must(&["recompute", "--from", "2025-03-03", "--to", "2025-03-04"])?;
    Ok(hub)
}

/// The column `Name` of a workbook.
fn names_in(workbook: Vec<u8>) -> Result<Vec<String>> {
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(workbook))?;
    let sheet = book.worksheet_range_at(0).context("a worksheet")??;
    let formulas = book.worksheet_formula(&book.sheet_names()[0].clone())?;
    ensure!(formulas.used_cells().count() == 0, "a cell became a formula");
    let mut rows = sheet.rows();
    let header = rows.next().context("a header")?;
    let place = header.iter().position(|cell| cell == &Data::String("Name".into())).context("names")?;
    Ok(rows.map(|row| row[place].to_string()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unchanged_in_every_report_and_format() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = company(&dir).await?;
    let hr = Api::login(&hub, "hr").await?;
    for report in OF_PEOPLE {
        let rows: Vec<Value> =
            serde_json::from_slice(&report_bytes(&hr, report, "json", "application/json").await?)?;
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        assert_eq!(names, NAMES, "{report}");

        let text = String::from_utf8(report_bytes(&hr, report, "csv", "text/csv").await?)?;
        for name in NAMES {
            let quoted = name.replace('"', "\"\"").replace(";=", ";'=");
            let cell = if name.starts_with(['=', '+', '-', '@']) { format!("'{quoted}") } else { quoted };
            ensure!(text.contains(&format!("\"{cell}\"")), "{report}: {cell} is not in {text}");
        }

        let workbook = report_bytes(&hr, report, "xlsx", "application/vnd.openxmlformats").await?;
        assert_eq!(names_in(workbook)?, NAMES, "{report}");

        let pages = report_bytes(&hr, report, "pdf", "application/pdf").await?;
        ensure!(pages.starts_with(b"%PDF-") && pages.len() > 5000, "{report}: {} bytes", pages.len());
    }
    for report in ["punctuality", "silence"] {
        for (format, kind) in [("json", "application/json"), ("csv", "text/csv"), ("pdf", "application/pdf")]
        {
            report_bytes(&hr, report, format, kind).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_report_add_up_to_the_report() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = company(&dir).await?;
    let hr = Api::login(&hub, "hr").await?;
    for report in ["timesheet", "overtime", "exceptions"] {
        let (mut seen, mut more) = (Vec::new(), "&limit=3".to_owned());
        loop {
            let answer = get_report(&hr, report, "json", &more).await?.error_for_status()?;
            let next = answer.headers().get("x-next-after").map(|value| value.to_str().map(str::to_owned));
            let page: Vec<Value> = answer.json().await?;
            ensure!(page.len() <= 3, "{report}: {} rows", page.len());
            seen.extend(page);
            let Some(next) = next.transpose()? else { break };
            more = format!("&limit=3&after={next}");
        }
        let whole: Vec<Value> =
            serde_json::from_slice(&report_bytes(&hr, report, "json", "application/json").await?)?;
        assert_eq!(seen, whole, "{report}");
    }
    Ok(())
}

/// Adds punches of two people on the 4th: one stayed longer, one came late and left early.
const WORKED: &str = r"
    insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
        select gen_random_uuid(), repeat('0', 32), 2, row_number() over (), p.id, t.at, 'synchronised', 'unknown', 0, '\x00'
        from people p, unnest(array['2025-03-04 09:00+01', '2025-03-04 18:30+01', '2025-03-04 09:20+01',
            '2025-03-04 15:50:01+01']::timestamptz[]) with ordinality as t (at, n)
        where p.number = case when t.n <= 2 then '1001' else '1002' end;
";

/// A report as JSON.
struct Said {
    report: &'static str,
    columns: Vec<String>,
    rows: Vec<Value>,
}

/// Compares a report that LibreOffice has read with the API's JSON: each value has its type, and the last row has the
/// sums.
fn compare(Said { report, columns, rows }: &Said, sheet: &calamine::Range<Data>) -> Result<()> {
    let mut lines = sheet.rows();
    let header = lines.next().context("a header")?;
    let lines: Vec<_> = lines.collect();
    let (sums, lines) = lines.split_last().context("sums")?;
    ensure!(lines.len() == rows.len(), "{report}: {} rows instead of {}", lines.len(), rows.len());
    for (place, name) in columns.iter().enumerate() {
        let values: Vec<&Value> = rows.iter().map(|row| &row[name]).collect();
        let cells = lines.iter().map(|line| &line[place]);
        for (value, cell) in values.iter().zip(cells) {
            let right = match cell {
                Data::Empty => value.is_null() || value.as_array().is_some_and(Vec::is_empty),
                // LibreOffice stores booleans as 1 and 0 with a format.
                Data::Float(number) => value.is_i64() || value.as_bool() == Some(*number != 0.0),
                // A date, or the local time of an instant.
                Data::DateTimeIso(read) => value.as_str().is_some_and(|text| text.starts_with(read)),
                Data::String(read) => value.is_array() || *value == read,
                _ => false,
            };
            ensure!(right, "{report}: {name} is {cell:?} instead of {value}");
            let a_text = matches!(cell, Data::String(_));
            let timely =
                matches!(name.as_str(), "date" | "begins" | "first_in" | "last_out" | "since" | "at");
            ensure!(!(a_text && timely), "{report}: {name} is a text, {cell:?}");
        }
        if values.iter().any(|value| value.is_i64()) {
            let expected: i64 = values.iter().filter_map(|value| value.as_i64()).sum();
            let unit = if name.ends_with("_s") { 3600.0 } else { 1.0 };
            let Data::Float(sum) = sums[place] else { anyhow::bail!("{report}: {name}: {:?}", sums[place]) };
            ensure!((sum * unit - expected as f64).abs() < 1e-6, "{report}: {name}: {sum} for {expected}");
            let heading = header[place].to_string();
            ensure!(heading.ends_with("(h)") == name.ends_with("_s"), "{report}: {heading}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_in_a_spreadsheet_equal_those_of_the_api() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = company(&dir).await?;
    hub.cluster().execute(WORKED).await?;
    hub.must(&["recompute", "--from", "2025-03-04", "--to", "2025-03-04"])?;
    let silent = "update terminals set reported_through = '2025-03-04 12:00+01', created_at = '2025-01-01'";
    hub.cluster().execute(silent).await?;
    let hr = Api::login(&hub, "hr").await?;
    let (mut files, mut answers) = (Vec::new(), Vec::new());
    for report in OF_PEOPLE.into_iter().chain(["punctuality", "silence"]) {
        let from = if report == "daily" { "2025-03-04" } else { "2025-03-03" };
        let path = |format: &str| format!("/reports/{report}?from={from}&to=2025-03-04&format={format}");
        let file =
            async |format: &str| hr.request(Method::GET, &path(format)).send().await?.error_for_status();
        let header = file("csv").await?.text().await?;
        let columns: Vec<_> =
            header.lines().next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let said = Said { report, columns, rows: hr.list(&path("json")).await? };
        let book = file("xlsx").await?.bytes().await?;
        let place = dir.join(&format!("{report}.xlsx"));
        std::fs::write(&place, calc::with_sums(&book, said.columns.len(), said.rows.len())?)?;
        files.push(place);
        answers.push(said);
    }
    calc::computed(&files, dir.path(), None)?;
    for said in &answers {
        compare(said, &calc::sheet(&dir.join(&format!("{}.ods", said.report)))?)?;
    }
    let balances = answers.iter().flat_map(|said| &said.rows).filter_map(|row| row["balance_s"].as_i64());
    let (less, more): (Vec<i64>, Vec<i64>) = balances.partition(|balance| *balance < 0);
    ensure!(less.len() > 20 && more.iter().any(|balance| *balance > 0), "{less:?} {more:?}");
    Ok(())
}

/// People and their punches today (`hours ago direction`).
const PASSAGES: [(&str, &str); 6] = [
    ("101", "2 unknown"),
    ("102", "3 unknown, 2.5 unknown"),
    ("103", "3 in, 1 out"),
    ("104", "20 in"),
    ("105", "20 unknown"),
    ("106", "25 unknown"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_on_site_list_includes_people_who_may_be_in() -> Result<()> {
    let company = Company::open().await?;
    for (number, passages) in PASSAGES {
        company.add_people(&[(number, "Somebody")]).await?;
        for passage in passages.split(", ") {
            let (ago, direction) = passage.split_once(' ').context("two words")?;
            let punch = format!(
                "insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
                select gen_random_uuid(), '{DEVICE}', 1, (select count(*) + 1 from punches), p.id,
                    now() - interval '{ago} hours', 'synchronised', '{direction}', 0, ''::bytea
                from people p where p.number = '{number}'"
            );
            company.hub.cluster().execute(&punch).await?;
        }
    }
    let list = async |api: &Api, filter: &str| -> Result<Vec<String>> {
        let rows = api.list(&format!("/reports/presence{filter}")).await?;
        Ok(rows.iter().map(|row| format!("{} {}", row["number"], row["presence"]).replace('"', "")).collect())
    };
    let all = ["101 in", "104 in", "102 perhaps in", "105 perhaps in"];
    assert_eq!(list(&company.hr, "").await?, all);
    assert_eq!(list(&company.hr, "?number=102").await?, ["102 perhaps in"]);
    assert_eq!(list(&company.hr, "?site=Main").await?, all);
    let own = company.login("ada", "employee", Some("104")).await?;
    assert_eq!(list(&own, "").await?, ["104 in"]);
    let csv = company.hr.request(Method::GET, "/reports/presence?format=csv").send().await?.text().await?;
    ensure!(csv.starts_with("number,name,department,site,since,terminal,presence\n"), "{csv}");
    ensure!(csv.lines().count() == 5 && csv.contains("\"Front door\",\"perhaps in\""), "{csv}");
    // People of another site are also on the list of the site whose terminal they used.
    let admin = company.login("root", "admin", None).await?;
    expect_status(200, admin.put("/sites/Plant", &json!({"zone": "UTC"})).await?)?;
    expect_status(200, company.hr.patch("/people/104", &json!({"site": "Plant"})).await?)?;
    assert_eq!(list(&company.hr, "?site=Main").await?, all);
    assert_eq!(list(&company.hr, "?site=Plant").await?, ["104 in"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_read_with_semicolons_contains_no_formula() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = company(&dir).await?;
    let hr = Api::login(&hub, "hr").await?;
    let mut files = Vec::new();
    for report in ["timesheet", "presence"] {
        files.push(dir.join(&format!("{report}.csv")));
        std::fs::write(&files[files.len() - 1], report_bytes(&hr, report, "csv", "text/csv").await?)?;
    }
    files.push(dir.join("plain.csv"));
    let plain = hr.request(Method::GET, "/timesheet.csv?from=2025-03-03").send().await?.error_for_status()?;
    std::fs::write(&files[2], plain.bytes().await?)?;
    // The same check finds a formula where there is one.
    files.push(dir.join("bait.csv"));
    std::fs::write(&files[3], "date,name\n2025-03-03,\"Ada;=1+1\"\n")?;
    calc::computed(&files, dir.path(), Some(calc::SEMICOLONS))?;
    let found = ["timesheet", "presence", "plain", "bait"]
        .map(|name| calc::formulas(&dir.join(&format!("{name}.ods"))));
    let found: Vec<usize> = found.into_iter().collect::<Result<_>>()?;
    assert_eq!(found, [0, 0, 0, 1]);
    Ok(())
}
