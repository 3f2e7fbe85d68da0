//! The names of packages on each distribution that Rollcall is for.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::dir::TestDir;
use tests::root;

/// What `deploy/packages.sh` says on a machine with this in its `/etc/os-release`.
fn names(dir: &TestDir, os_release: &str, needs: &[&str]) -> Result<String> {
    let file = dir.join("os-release");
    std::fs::write(&file, os_release)?;
    let script = root().join("deploy/packages.sh");
    let output = Command::new(&script).args(needs).env("OS_RELEASE", &file).output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn each_distribution_has_its_package_names() -> Result<()> {
    let dir = TestDir::new()?;
    let debian = |version: &str| {
        format!(
            "PRETTY_NAME=\"Debian GNU/Linux {version}\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"{version}\"\nID=debian\n"
        )
    };
    let ubuntu = |version: &str| {
        format!("PRETTY_NAME=\"Ubuntu {version} LTS\"\nVERSION_ID=\"{version}\"\nID=ubuntu\nID_LIKE=debian\n")
    };
    for (os_release, postgresql) in [
        (debian("12"), "postgresql-15"),
        (debian("13"), "postgresql-17"),
        (ubuntu("22.04"), "postgresql-14"),
        (ubuntu("24.04"), "postgresql-16"),
        (ubuntu("26.04"), "postgresql"),
        ("ID=linuxmint\nVERSION_ID=\"22\"\nID_LIKE=\"ubuntu debian\"\n".into(), "postgresql"),
        ("PRETTY_NAME='Debian GNU/Linux forky/sid'\nID=debian\n".into(), "postgresql"), // has no version
    ] {
        let expected = format!(
            "gcc libc6-dev make libclang-dev {postgresql} python3 python3-pip mosquitto libfaketime libreoffice-calc-nogui"
        );
        let said = names(&dir, &os_release, &[])?;
        ensure!(said == expected, "{os_release}: {said}");
        ensure!(names(&dir, &os_release, &["postgresql"])? == postgresql);
    }
    Ok(())
}

#[test]
fn an_unknown_need_is_an_error() -> Result<()> {
    let output = Command::new(root().join("deploy/packages.sh")).arg("postgres").output()?;
    ensure!(!output.status.success() && output.stdout.is_empty());
    ensure!(String::from_utf8_lossy(&output.stderr).contains("no need 'postgres'"));
    Ok(())
}

/// apt of this machine, where it knows anything, knows every name of this machine's distribution.
#[test]
fn apt_knows_the_package_names() -> Result<()> {
    let output = Command::new(root().join("deploy/packages.sh")).output()?;
    for name in String::from_utf8(output.stdout)?.split_whitespace() {
        let Ok(shown) = Command::new("apt-cache").args(["show", "--no-all-versions", "make"]).output() else {
            return Ok(());
        };
        if shown.stdout.is_empty() {
            println!("apt has no lists here: nothing is compared");
            return Ok(());
        }
        let shown = Command::new("apt-cache").args(["show", name]).output()?;
        ensure!(shown.status.success() && !shown.stdout.is_empty(), "apt knows no package {name}");
    }
    Ok(())
}
