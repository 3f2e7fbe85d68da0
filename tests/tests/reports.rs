//! Every report in every format: names stay what they are, and no cell becomes a formula.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use calamine::{Data, Reader, Xlsx};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tests::api::Api;
use tests::company::{Company, DEVICE};
use tests::ground::Ground;
use tests::hub::Hub;

/// In many scripts, and such as spreadsheets take for formulas.
const NAMES: [&str; 10] = [
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
];
/// Reports with the names of people, on the dates below.
const OF_PEOPLE: [&str; 7] =
    ["daily", "timesheet", "lateness", "absence", "overtime", "exceptions", "presence"];

/// A shift from 9 to 5 every day: on the 3rd everybody comes late and is never seen to leave, on the
/// 4th nobody comes, and an hour ago everybody came.
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

/// What the API says of a report on the date that suits it.
async fn ask(hr: &Api, report: &str, format: &str, more: &str) -> Result<Response> {
    let date = if report == "absence" { "2025-03-04" } else { "2025-03-03" };
    let path = format!("/reports/{report}?from={date}&to={date}&format={format}{more}");
    Ok(hr.request(Method::GET, &path).send().await?)
}

/// A report's bytes, of the type that its format has.
async fn bytes(hr: &Api, name: &str, format: &str, kind: &str) -> Result<Vec<u8>> {
    let answer = ask(hr, name, format, "").await?;
    let status = answer.status();
    let found = answer.headers()["content-type"].to_str()?.to_owned();
    let bytes = answer.bytes().await?.to_vec();
    let shown = String::from_utf8_lossy(&bytes).chars().take(300).collect::<String>();
    ensure!(status == StatusCode::OK && found.starts_with(kind), "{name}: {status} {found} {shown}");
    Ok(bytes)
}

async fn company(ground: &Ground) -> Result<Hub> {
    let hub = Hub::start_new(ground)?;
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

/// The names in a workbook's column of that heading.
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
async fn names_are_right_in_every_report_and_format() -> Result<()> {
    let ground = Ground::new()?;
    let hub = company(&ground).await?;
    let hr = Api::open(&hub, "hr").await?;
    for report in OF_PEOPLE {
        let rows: Vec<Value> =
            serde_json::from_slice(&bytes(&hr, report, "json", "application/json").await?)?;
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        assert_eq!(names, NAMES, "{report}");

        let text = String::from_utf8(bytes(&hr, report, "csv", "text/csv").await?)?;
        for name in NAMES {
            let quoted = name.replace('"', "\"\"");
            let cell = if name.starts_with(['=', '+', '-', '@']) { format!("'{quoted}") } else { quoted };
            ensure!(text.contains(&cell), "{report}: {cell} is not in {text}");
        }
        ensure!(!text.lines().flat_map(|line| line.split(',')).any(|cell| cell.starts_with("=H")), "{text}");

        let workbook = bytes(&hr, report, "xlsx", "application/vnd.openxmlformats").await?;
        assert_eq!(names_in(workbook)?, NAMES, "{report}");

        let pages = bytes(&hr, report, "pdf", "application/pdf").await?;
        ensure!(pages.starts_with(b"%PDF-") && pages.len() > 5000, "{report}: {} bytes", pages.len());
    }
    for report in ["punctuality", "silence"] {
        for (format, kind) in [("json", "application/json"), ("csv", "text/csv"), ("pdf", "application/pdf")]
        {
            bytes(&hr, report, format, kind).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_report_are_the_whole_report() -> Result<()> {
    let ground = Ground::new()?;
    let hub = company(&ground).await?;
    let hr = Api::open(&hub, "hr").await?;
    for report in ["timesheet", "overtime", "exceptions"] {
        let (mut seen, mut more) = (Vec::new(), "&limit=3".to_owned());
        loop {
            let answer = ask(&hr, report, "json", &more).await?.error_for_status()?;
            let next = answer.headers().get("x-next-after").map(|value| value.to_str().map(str::to_owned));
            let page: Vec<Value> = answer.json().await?;
            ensure!(page.len() <= 3, "{report}: {} rows", page.len());
            seen.extend(page);
            let Some(next) = next.transpose()? else { break };
            more = format!("&limit=3&after={next}");
        }
        let whole: Vec<Value> =
            serde_json::from_slice(&bytes(&hr, report, "json", "application/json").await?)?;
        assert_eq!(seen, whole, "{report}");
    }
    Ok(())
}

/// People who have passed the door today, each in another way (`hours ago direction`).
const PASSAGES: [(&str, &str); 6] = [
    ("101", "2 unknown"),
    ("102", "3 unknown, 2.5 unknown"),
    ("103", "3 in, 1 out"),
    ("104", "20 in"),
    ("105", "20 unknown"),
    ("106", "25 unknown"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_list_also_names_who_may_be_in() -> Result<()> {
    let company = Company::open().await?;
    for (number, passages) in PASSAGES {
        company.hire(&[(number, "Somebody")]).await?;
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
    Ok(())
}
