//! The documents agree with the programs: links lead somewhere, commands exist, and what is generated is current.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::dir::TestDir;
use tests::hub::Hub;
use tests::{program, root};

/// Set, it has the generated documents written instead of compared.
const UPDATE: &str = "ROLLCALL_UPDATE_DOCS";

/// Every document with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    assert!(found.len() > 50, "{} documents", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What builds and fetches leave is not ours.
        if path.is_dir() && !name.starts_with('.') && !["target", "runtime", "work"].contains(&name.as_ref())
        {
            collect(&path, found);
        } else if name.ends_with(".md") {
            let text = std::fs::read_to_string(&path).expect("a document");
            found.push((path, text));
        }
    }
}

/// The targets of a text's links, without those on the web.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| !target.contains("://") && !target.contains(' '))
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
    kept.map(|sign| if sign == ' ' { '-' } else { sign.to_ascii_lowercase() }).collect()
}

#[test]
fn links_have_targets() {
    let mut broken = Vec::new();
    for (document, text) in documents() {
        for link in links(&text) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(path)
            };
            let there = || {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                text.lines()
                    .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == fragment)
            };
            if !target.exists() || !(fragment.is_empty() || there()) {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

fn help(name: &str, path: &[&str]) -> Output {
    let mut command = Command::new(program(name).expect("built"));
    command.args(path).arg("--help").env_clear();
    command.output().expect("the program starts")
}

/// The help of a command and of all below it, with a heading each.
fn reference(name: &str, path: &[&str], into: &mut String) {
    let text = String::from_utf8(help(name, path).stdout).expect("UTF-8");
    let called = std::iter::once(name).chain(path.iter().copied()).collect::<Vec<_>>().join(" ");
    let shown: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    let heading = "#".repeat(path.len() + 2);
    writeln!(into, "\n{heading} {called}\n\n```\n{}\n```", shown.join("\n")).expect("written");
    let commands =
        text.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or("");
    for line in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let Some(command) = line.split_whitespace().next().filter(|command| *command != "help") else {
            continue;
        };
        reference(name, &[path, &[command]].concat(), into);
    }
}

fn command_line() -> String {
    let mut text =
        "# Command line\n\nWhat `--help` says. Written by `ROLLCALL_UPDATE_DOCS=1 ./tests/run.sh docs`.\n"
            .to_owned();
    reference("rollcall-hub", &[], &mut text);
    reference("rollcall-edge", &[], &mut text);
    text
}

fn configuration(of: &str, example: &str) -> String {
    let text = std::fs::read_to_string(root().join("deploy").join(example)).expect("the example");
    format!(
        "# Configuration of the {of}\n\nThis is [`deploy/{example}`](../../deploy/{example}), with every key and its default. Written by \
        `ROLLCALL_UPDATE_DOCS=1 ./tests/run.sh docs`.\n\n```toml\n{text}```\n"
    )
}

#[test]
fn the_reference_is_current() {
    let folder = root().join("docs/reference");
    let generated = [
        ("cli.md", command_line()),
        ("config-hub.md", configuration("hub", "hub.example.toml")),
        ("config-edge.md", configuration("terminal", "edge.example.toml")),
    ];
    for (name, text) in generated {
        let file = folder.join(name);
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&file, &text).expect("written");
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == text, "docs/reference/{name}: run {UPDATE}=1 ./tests/run.sh docs");
    }
}

#[tokio::test]
async fn the_diagram_matches_the_schema() -> anyhow::Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let query = std::fs::read_to_string(root().join("hub/er.sql"))?;
    let mut database = hub.cluster().connect().await?;
    let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&mut database).await?;
    let document = std::fs::read_to_string(root().join("docs/develop/database.md"))?;
    let drawn = document.split("```mermaid\n").nth(1).and_then(|rest| rest.split("\n```").next());
    assert_eq!(drawn, Some(lines.join("\n").as_str()), "run hub/prepare.sh");
    Ok(())
}

/// The words of a line of the shell, as far as these documents need that.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for sign in line.chars() {
        match sign {
            '"' => quoted = !quoted,
            '#' | '<' | '>' | '|' | ';' | '&' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            sign => words.last_mut().expect("a word").push(sign),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn commands_in_documents_exist() {
    let mut seen = 0;
    for (document, text) in documents() {
        for line in text.lines().filter_map(|line| line.strip_prefix("    ")) {
            let line = line
                .trim_start()
                .trim_start_matches("sudo -u rollcall ")
                .trim_start_matches("target/release/");
            let words = words(line);
            let Some((name, arguments)) = words.split_first() else { continue };
            if name != "rollcall-hub" && name != "rollcall-edge" {
                continue;
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let answer = help(name, &arguments);
            let said = String::from_utf8_lossy(&answer.stderr);
            assert!(answer.status.success(), "{}: {line}: {said}", document.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands found");
}
