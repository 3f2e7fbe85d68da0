//! Imports of people, assignments and leave from CSV and workbooks, on the command line and over HTTPS.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode, multipart};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
use serde_json::{Value, json};
use tests::api::{Answer, Api, expect_status};
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::{check_error, eventually};

/// The columns of the generated people.
const HEADER: &str = "number,name,email,department,manager,employed_from";
/// The number of the first person.
const FIRST: usize = 100_000;
/// Names with quotation marks, separators and other scripts.
const NAMES: [&str; 8] = [
    "Zoë Ångström-Øye",
    "王小明",
    "Jörg \"Jogi\" Müller",
    "Smith, Jane; née O’Brien",
    "Łukasz Żółć",
    "محمد علي",
    "Σωκράτης Παπαδόπουλος",
    "Nguyễn Thị Ánh",
];
/// The limit of a file in bytes.
const FILE_BYTES: usize = 16 << 20;

type Person = [String; 6];

/// Generates people. The last tenth are the managers of the others, and so come after them in the file.
fn people(count: usize) -> Vec<Person> {
    let others = count / 10 * 9;
    let person = |n: usize| {
        let manager = if n < others { (FIRST + others + n / 9).to_string() } else { String::new() };
        [
            (FIRST + n).to_string(),
            format!("{} {n}", NAMES[n % NAMES.len()]),
            format!("p{n}@example.org"),
            format!("Büro {}", n % 25),
            manager,
            format!("2024-{:02}-28", 1 + n % 12),
        ]
    };
    (0..count).map(person).collect()
}

fn csv(people: &[Person]) -> String {
    let mut text = format!("{HEADER}\n");
    for person in people {
        let cells: Vec<String> =
            person.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// Writes a file and returns its path.
fn file(dir: &TestDir, name: &str, bytes: impl AsRef<[u8]>) -> Result<String> {
    let path = dir.join(name);
    std::fs::write(&path, bytes)?;
    Ok(path.to_str().context("a path in UTF-8")?.to_owned())
}

/// Runs an import that must succeed and returns the last line of its output.
fn import(hub: &Hub, kind: &str, file: &str) -> Result<String> {
    let said = hub.must(&["import", kind, file])?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

/// The same as a dry run.
fn dry_run(hub: &Hub, kind: &str, file: &str) -> Result<String> {
    let said = hub.must(&["import", kind, file, "--dry-run"])?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn imported(added: usize, changed: usize, unchanged: usize) -> String {
    format!("added {added}, changed {changed}, unchanged {unchanged}")
}

/// The problems of a rejected import, one per line.
fn problems(output: &Output) -> Result<Vec<String>> {
    let errors = String::from_utf8(output.stderr.clone())?;
    ensure!(output.status.code() == Some(1), "{:?}: {errors}", output.status);
    ensure!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let told = errors.strip_prefix("error: ").unwrap_or(&errors);
    Ok(told.lines().map(str::to_owned).collect())
}

/// The number of rows that an import of people wrote, without its own audit entry.
async fn rows_written(hub: &Hub) -> Result<i64> {
    let query = "select (select count(*) from people) + (select count(*) from departments)
        + (select count(*) from audit where action like 'person.%')";
    hub.cluster().number(query).await
}

fn form(field: &'static str, bytes: Vec<u8>) -> multipart::Form {
    multipart::Form::new().part(field, multipart::Part::bytes(bytes).file_name("people.csv"))
}

/// Uploads a file of people.
async fn upload(api: &Api, file: impl Into<Vec<u8>>) -> Result<Answer> {
    api.upload("/imports/people", form("file", file.into())).await
}

/// Uploads a file of people that is rejected, and returns the error.
async fn rejected(api: &Api, file: impl Into<Vec<u8>>, expected: &str) -> Result<()> {
    let (status, answer) = upload(api, file).await?;
    let told = answer["error"].as_str().unwrap_or_default();
    let rejections =
        [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
    ensure!(rejections.contains(&status), "{status}: {answer}");
    ensure!(told.contains(expected), "{answer} lacks {expected:?}");
    Ok(())
}

/// Checks the counts of rows added, changed and unchanged.
fn check_counts((status, answer): &Answer, expected: [usize; 3]) -> Result<()> {
    let counts = [&answer["added"], &answer["changed"], &answer["unchanged"]];
    ensure!(*status == StatusCode::OK && counts.into_iter().eq(&expected.map(Value::from)), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_with_invalid_rows_writes_nothing() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let good = people(10_000);
    let mut bad = good.clone();
    bad[1234][1].clear();
    bad[5678][5] = "2025-02-30".into();
    bad[8000][0].clone_from(&good[0][0]);
    let rejection = hub.command(&["import", "people", &file(&dir, "bad.csv", csv(&bad))?])?;
    let told = problems(&rejection)?;
    let expected = [
        ("row 1236, column name: ", "is empty"),
        ("row 5680, column employed_from: ", "\"2025-02-30\" is no date"),
        ("row 8002, column number: ", "\"100000\" is in row 2 already"),
    ];
    ensure!(told.len() == expected.len(), "{told:#?}");
    for (told, (place, reason)) in told.iter().zip(expected) {
        ensure!(told.starts_with(place) && told.contains(reason), "{told} instead of {place}{reason}");
    }
    ensure!(rows_written(&hub).await? == 0, "something was written");
    let claims = "select count(*) from audit where action like 'import.%'";
    ensure!(hub.cluster().number(claims).await? == 0, "the audit tells of an import");

    let said = import(&hub, "people", &file(&dir, "good.csv", csv(&good))?)?;
    ensure!(said == imported(10_000, 0, 0), "{said}");
    let stored: Vec<(String, String, String)> = sqlx::query_as(
        "select p.number, p.name, coalesce(m.number, '') from people p left join people m on m.id = p.manager
        order by p.number::int",
    )
    .fetch_all(&mut hub.cluster().connect().await?)
    .await?;
    ensure!(stored.len() == good.len(), "{} people", stored.len());
    for ((number, name, manager), row) in stored.iter().zip(&good) {
        ensure!([number, name, manager] == [&row[0], &row[1], &row[4]], "{number} {name} {manager}: {row:?}");
    }
    ensure!(hub.cluster().number("select count(*) from departments").await? == 25);
    ensure!(hub.cluster().number(claims).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_import_changes_nothing_and_a_dry_run_writes_nothing() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut people = people(100);
    let first = file(&dir, "people.csv", csv(&people))?;
    let said = dry_run(&hub, "people", &first)?;
    ensure!(said == "would be added 100, changed 0, unchanged 0: nothing was written", "{said}");
    ensure!(rows_written(&hub).await? == 0, "a dry run wrote something");
    let said = import(&hub, "people", &first)?;
    ensure!(said == imported(100, 0, 0), "{said}");
    let before = rows_written(&hub).await?;
    // The transaction that last wrote a row.
    let newest = "select max(xmin::text::bigint) from people";
    let touched = hub.cluster().number(newest).await?;
    let said = import(&hub, "people", &first)?;
    ensure!(said == imported(0, 0, 100), "{said}");
    ensure!(rows_written(&hub).await? == before && hub.cluster().number(newest).await? == touched);

    people[7][2] = "new@example.org".into();
    let second = file(&dir, "changed.csv", csv(&people))?;
    let said = dry_run(&hub, "people", &second)?;
    ensure!(said == "would be added 0, changed 1, unchanged 99: nothing was written", "{said}");
    let edited = "select count(*) from people where number = '100007' and email = 'new@example.org'";
    ensure!(hub.cluster().number(edited).await? == 0 && hub.cluster().number(newest).await? == touched);
    let said = import(&hub, "people", &second)?;
    ensure!(said == imported(0, 1, 99), "{said}");
    ensure!(hub.cluster().number(edited).await? == 1);
    let told = "select count(*) from audit where action = 'person.change' and actor = 'cli'
        and detail->'columns' =
            '[{\"column\": \"email\", \"old\": \"p7@example.org\", \"new\": \"new@example.org\"}]'";
    ensure!(hub.cluster().number(told).await? == 1, "the audit does not say what changed");
    ensure!(hub.cluster().number("select count(*) from audit where action = 'person.change'").await? == 1);
    Ok(())
}

/// A workbook with numbers, strings and a date.
fn workbook() -> Result<Vec<u8>> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, name) in (0..).zip(["number", "name", "department", "manager", "employed_from"]) {
        sheet.write_string(0, column, name)?;
    }
    sheet.write_number(1, 0, 1001)?;
    sheet.write_string(1, 1, "Jürgen Groß")?;
    sheet.write_string(1, 2, "Straßen & Brücken")?;
    sheet.write_number(1, 3, 1002)?;
    let format = Format::new().set_num_format("dd.mm.yyyy");
    sheet.write_datetime_with_format(1, 4, ExcelDateTime::from_ymd(2024, 2, 29)?, &format)?;
    sheet.write_string(2, 0, "1002")?;
    sheet.write_string(2, 1, "=SUM(A1:A9)")?;
    sheet.write_datetime_with_format(2, 4, ExcelDateTime::from_ymd(2025, 12, 31)?, &format)?;
    Ok(book.save_to_buffer()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn workbooks_and_semicolon_separated_files_are_imported() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let book = file(&dir, "people.xlsx", workbook()?)?;
    let said = import(&hub, "people", &book)?;
    ensure!(said == imported(2, 0, 0), "{said}");
    let text = "\u{feff}Number;Name;Department;Manager;Employed_from\r\n\
        1003;=HYPERLINK(\"x\");研发部;1001;2025-01-31\r\n\
        1004;\"Anna \"\"Änne\"\" Müller; geb. Weiß\";\"Straßen & Brücken\";;\r\n\
        1005;李娜;;;2025-02-01\r\n";
    let text = file(&dir, "people.csv", text)?;
    let said = import(&hub, "people", &text)?;
    ensure!(said == imported(3, 0, 0), "{said}");
    let stored = "select concat_ws('|', p.number, p.name, coalesce(d.name, ''), coalesce(m.number, ''),
            coalesce(p.employed_from::text, ''))
        from people p left join departments d on d.id = p.department left join people m on m.id = p.manager
        order by p.number";
    let stored = hub.cluster().column(stored).await?;
    let expected = [
        "1001|Jürgen Groß|Straßen & Brücken|1002|2024-02-29",
        "1002|=SUM(A1:A9)|||2025-12-31",
        "1003|=HYPERLINK(\"x\")|研发部|1001|2025-01-31",
        "1004|Anna \"Änne\" Müller; geb. Weiß|Straßen & Brücken||",
        "1005|李娜|||2025-02-01",
    ];
    ensure!(stored == expected, "{stored:#?}");
    for (file, rows) in [(&book, 2), (&text, 3)] {
        let said = import(&hub, "people", file)?;
        ensure!(said == imported(0, 0, rows), "{said}");
    }
    // An old workbook format is rejected with a remedy.
    let latin = file(&dir, "latin.csv", b"number,name\n1006,J\xF6rg\n")?;
    check_error(&hub.command(&["import", "people", &latin])?, "CSV UTF-8")?;
    let nameless = file(&dir, "nameless.csv", "number\n1006\n")?;
    let told = problems(&hub.command(&["import", "people", &nameless])?)?;
    ensure!(told.len() == 1 && told[0].starts_with("row 1, column name: "), "{told:#?}");
    ensure!(hub.cluster().number("select count(*) from people").await? == 5);
    Ok(())
}

/// A person's workdays: date, shift and status.
async fn days(api: &Api, number: &str) -> Result<Vec<String>> {
    let path = format!("/reports/timesheet?from=2025-03-03&to=2025-03-07&number={number}");
    let day = |row: &Value| {
        let cell = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", cell("date"), cell("shift"), cell("status"))
    };
    Ok(api.list(&path).await?.iter().map(day).collect())
}

async fn wait_for_days(api: &Api, number: &str, expected: &[&str]) -> Result<()> {
    eventually("the days to follow", async || {
        let days = days(api, number).await?;
        ensure!(days == expected, "{number}: {days:#?}");
        Ok(())
    })
    .await
}

/// Shifts and patterns with a shift on every day.
async fn add_shifts(api: &Api) -> Result<()> {
    expect_status(200, api.put("/shifts/D", &json!({"start": "09:00", "end": "18:00"})).await?)?;
    expect_status(200, api.put("/shifts/N", &json!({"start": "22:00", "end": "06:00"})).await?)?;
    for (pattern, shift) in [("Days", "D"), ("Nights", "N")] {
        let setting = json!({"anchor": "2024-01-01", "cycle_days": 1, "days": [[shift]]});
        expect_status(200, api.put(&format!("/schedules/{pattern}"), &setting).await?)?;
    }
    Ok(())
}

/// 1001 worked on 3 March 2025 from nine to seven in Berlin.
async fn add_punches(hub: &Hub) -> Result<()> {
    let punches =
        "insert into terminals (device, name, state, certificate_sha256, expires_at, reported_through)
            values (md5('1'), 'Door', 'accepted', ''::bytea, now() + interval '1 year', now());
        insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), md5('1'), 1, n, p.id,
                timestamptz '2025-03-03 07:55Z' + n * interval '10 hours',
                'synchronised', 'unknown', 0, ''::bytea
            from people p, generate_series(0, 1) n where number = '1001'";
    hub.cluster().execute(punches).await
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_schedules_and_leave_recompute_days() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("hr", "hr", None)?;
    let api = Api::login(&hub, "hr").await?;
    add_shifts(&api).await?;
    let people = "number,name,employed_from\n1001,Ada,2025-01-01\n1002,Émile,2025-01-01\n";
    import(&hub, "people", &file(&dir, "people.csv", people)?)?;
    add_punches(&hub).await?;

    let schedules =
        file(&dir, "s.csv", "number,schedule,from\n1001,Days,2025-01-01\n1002,Days,2025-03-04\n")?;
    let said = import(&hub, "schedules", &schedules)?;
    ensure!(said == imported(2, 0, 0), "{said}");
    let absent = ["2025-03-04 D absent", "2025-03-05 D absent", "2025-03-06 D absent", "2025-03-07 D absent"];
    wait_for_days(&api, "1001", &[["2025-03-03 D present"].as_slice(), &absent].concat()).await?;
    wait_for_days(&api, "1002", &absent).await?;

    let leave = "number;from;to;half;reason\n1001;2025-03-04;2025-03-05;;Skiurlaub\n\
        1002;2025-03-05;;no;\n1002;2031-01-02;;yes;\n";
    let leave = file(&dir, "leave.csv", leave)?;
    let said = dry_run(&hub, "leave", &leave)?;
    ensure!(said == "would be added 3, changed 0, unchanged 0: nothing was written", "{said}");
    ensure!(hub.cluster().number("select count(*) from leave_days").await? == 0);
    let said = import(&hub, "leave", &leave)?;
    ensure!(said == imported(3, 0, 0), "{said}");
    let after = ["2025-03-03 D present", "2025-03-04 D leave", "2025-03-05 D leave", absent[2], absent[3]];
    wait_for_days(&api, "1001", &after).await?;
    wait_for_days(&api, "1002", &[absent[0], "2025-03-05 D leave", absent[2], absent[3]]).await?;
    ensure!(hub.cluster().number("select count(*) from leave_days where half").await? == 1);

    // An assignment of one night overrides the days, which continue after it.
    let night = "number,schedule,from,to\n1001,Nights,2025-03-06,2025-03-06\n";
    let said = import(&hub, "schedules", &file(&dir, "night.csv", night)?)?;
    ensure!(said == imported(0, 1, 0), "{said}");
    let after = [after[0], after[1], after[2], "2025-03-06 N absent", after[4]];
    wait_for_days(&api, "1001", &after).await?;
    ensure!(hub.cluster().number("select count(*) from assignments").await? == 4);
    let said = import(&hub, "leave", &leave)?;
    ensure!(said == imported(0, 0, 3), "{said}");
    let unknown =
        file(&dir, "unknown.csv", "number,schedule,from\n1001,Days,2025-01-01\n9,Evenings,5.1.2025\n")?;
    let told = problems(&hub.command(&["import", "schedules", &unknown])?)?;
    let places = ["row 3, column from", "row 3, column number", "row 3, column schedule"];
    ensure!(
        told.len() == 3 && places.iter().all(|place| told.iter().any(|line| line.starts_with(place))),
        "{told:#?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_work_over_the_api() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("hr", "hr", None)?;
    let hr = Api::login(&hub, "hr").await?;
    let good = "number,name,manager\n1,Ada Öz,2\n2,Bo,\n3,Čeněk,2\n";
    let tried = hr.upload("/imports/people?dry_run=true", form("file", good.into())).await?;
    check_counts(&tried, [3, 0, 0])?;
    let change = &tried.1["changes"][0];
    ensure!(change["row"] == 2 && change["number"] == "1" && change["added"] == true, "{change}");
    let name = json!({"column": "name", "old": null, "new": "Ada Öz"});
    ensure!(change["columns"].as_array().is_some_and(|columns| columns.contains(&name)), "{change}");
    ensure!(rows_written(&hub).await? == 0, "a dry run wrote something");
    check_counts(&upload(&hr, good).await?, [3, 0, 0])?;
    check_counts(&upload(&hr, good).await?, [0, 0, 3])?;

    let (status, answer) = upload(&hr, "number,name,manager\n4,Dora,99\n4,Dora,2\n").await?;
    ensure!(status == StatusCode::UNPROCESSABLE_ENTITY && answer["more"] == 0, "{status}: {answer}");
    let problems = answer["problems"].as_array().context("problems")?;
    let places: Vec<_> = problems.iter().map(|problem| (&problem["row"], &problem["column"])).collect();
    let expected = [(json!(2), json!("manager")), (json!(3), json!("number"))];
    ensure!(places.iter().copied().eq(expected.iter().map(|(row, column)| (row, column))), "{answer}");
    ensure!(problems[0]["reason"].as_str().is_some_and(|reason| reason.contains("\"99\"")), "{answer}");

    only_hr_may_import(&hub).await?;
    invalid_files_are_rejected(&hr).await?;
    // The hub still runs, and nothing has changed.
    eventually("the hub", async || check_counts(&upload(&hr, good).await?, [0, 0, 3])).await?;
    ensure!(hub.cluster().number("select count(*) from people").await? == 3);
    let audited = "select count(*) from audit where action = 'import.people' and actor = 'hr'
        and detail->'dry_run' = 'false'";
    ensure!(hub.cluster().number(audited).await? == 3);
    Ok(())
}

/// Only HR may import.
async fn only_hr_may_import(hub: &Hub) -> Result<()> {
    let more = "number,name\n5,Eve\n";
    for (role, number) in [("employee", "1"), ("manager", "2")] {
        hub.account(role, role, Some(number))?;
        let (status, answer) = upload(&Api::login(hub, role).await?, more).await?;
        ensure!(status == StatusCode::FORBIDDEN, "{role}: {status}: {answer}");
    }
    let request = Api::anonymous(hub)?.request(Method::POST, "/imports/people");
    for request in [request.try_clone().context("clones")?, request.bearer_auth("guess")] {
        let status = request.multipart(form("file", more.into())).send().await?.status();
        ensure!(status == StatusCode::UNAUTHORIZED, "{status}");
    }
    Ok(())
}

async fn invalid_files_are_rejected(hr: &Api) -> Result<()> {
    for (path, field, expected) in [
        ("/imports/wages", "file", StatusCode::NOT_FOUND),
        ("/imports/people?dry_run=perhaps", "file", StatusCode::BAD_REQUEST),
        ("/imports/people?dry=true", "file", StatusCode::BAD_REQUEST),
        ("/imports/people", "photo", StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = hr.upload(path, form(field, b"number,name\n5,Eve\n".to_vec())).await?;
        ensure!(status == expected, "{path}: {status}: {answer}");
    }
    rejected(hr, "", "is empty").await?;
    rejected(hr, b"\xff\xfe\x00\x9d\n\x00".as_slice(), "neither a workbook nor UTF-8").await?;
    rejected(hr, b"PK\x03\x04rubbish".as_slice(), "can't be read").await?;
    rejected(hr, "number,name\n5,\"Eve\n6,Fay\n", "row 2 has a quotation mark that is not closed").await?;
    rejected(hr, b"\xd0\xcf\x11\xe0rubbish".as_slice(), "save it as .xlsx").await?;
    rejected(hr, vec![b'a'; FILE_BYTES + 1], "larger than 16 MiB").await?;
    // The hub may close the connection before a far larger file is sent.
    match upload(hr, vec![b'a'; FILE_BYTES * 3 / 2]).await {
        Ok((status, answer)) => {
            let expected = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE];
            ensure!(expected.contains(&status), "{status}: {answer}");
        }
        Err(error) => ensure!(
            error.downcast_ref::<reqwest::Error>().is_some_and(|error| !error.is_timeout()),
            "{error:#}"
        ),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_imports_are_rejected_instead_of_waiting() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("hr", "hr", None)?;
    let hr = Api::login(&hub, "hr").await?;
    let good = "number,name\n1,Ada\n";
    let busy = "another import is running: try again in a moment";
    // As another hub or the command line would.
    let mut other = hub.cluster().connect().await?;
    sqlx::query("select pg_advisory_lock(x'494D504F'::bigint)").execute(&mut other).await?;
    let begin = Instant::now();
    // More of them than the hub has connections.
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let hr = hr.clone();
        uploads.spawn(async move { upload(&hr, good).await });
    }
    while let Some(answer) = uploads.join_next().await {
        let (status, answer) = answer??;
        ensure!(status == StatusCode::CONFLICT && answer["error"] == busy, "{status}: {answer}");
        expect_status(200, hr.get("/people").await?)?;
    }
    check_error(&hub.command(&["import", "people", &file(&dir, "people.csv", good)?])?, busy)?;
    ensure!(begin.elapsed() < Duration::from_secs(20), "an import waited: {:?}", begin.elapsed());
    let people = "select count(*) from people";
    ensure!(hub.cluster().number(people).await? == 0, "a person was imported");
    sqlx::query("select pg_advisory_unlock(x'494D504F'::bigint)").execute(&mut other).await?;
    check_counts(&upload(&hr, good).await?, [1, 0, 0])
}

/// The error for rows about the person who imports them.
fn own_days((status, answer): &Answer, row: u32) -> Result<()> {
    let reason = "nobody changes their own days: ask somebody else";
    let expected = json!([{"row": row, "column": "number", "reason": reason}]);
    ensure!(*status == StatusCode::UNPROCESSABLE_ENTITY && answer["problems"] == expected, "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_imports_their_own_days() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let people = "number,name,employed_from\n1001,Ada,2025-01-01\n1002,Bo,2025-01-01\n";
    import(&hub, "people", &file(&dir, "people.csv", people)?)?;
    hub.account("boss", "hr", None)?;
    add_shifts(&Api::login(&hub, "boss").await?).await?;
    hub.account("ada", "hr", Some("1001"))?;
    let ada = Api::login(&hub, "ada").await?;
    let schedules = "number,schedule,from\n1002,Days,2025-01-01\n1001,Days,2025-01-01\n";
    let leave = "number,from\n1001,2025-03-03\n1002,2025-03-04\n";
    let moved = "number,name,employed_from\n1002,Bo,2025-02-01\n1001,Ada,2025-02-01\n";
    for (kind, text, row) in [("schedules", schedules, 3), ("leave", leave, 2), ("people", moved, 3)] {
        for path in [format!("/imports/{kind}"), format!("/imports/{kind}?dry_run=true")] {
            own_days(&ada.upload(&path, form("file", text.into())).await?, row)?;
        }
    }
    let planned = "select (select count(*) from assignments) + (select count(*) from leave_days)
        + (select count(*) from people where employed_from <> '2025-01-01')";
    ensure!(hub.cluster().number(planned).await? == 0, "something was written");
    // Others' days and her own name are permitted.
    let others =
        ada.upload("/imports/leave", form("file", b"number,from\n1002,2025-03-04\n".to_vec())).await?;
    check_counts(&others, [1, 0, 0])?;
    check_counts(&upload(&ada, "number,name\n1001,Ada L.\n").await?, [0, 1, 0])?;
    // The command line has no person.
    let said = import(&hub, "schedules", &file(&dir, "s.csv", schedules)?)?;
    ensure!(said == imported(2, 0, 0), "{said}");
    Ok(())
}
