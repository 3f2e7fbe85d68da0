//! The machine: model, system, temperature and free disk space.

use std::path::Path;

#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// On the disk of the state folder.
    pub free_mb: u64,
    /// Of its warmest thermal zone, if it has any.
    pub temperature_c: Option<f32>,
}

impl Machine {
    pub fn read(state: &Path) -> Self {
        let free = rustix::fs::statvfs(state).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Self { free_mb: free >> 20, temperature_c: warmest(Path::new("/sys/class/thermal")) }
    }
}

/// The warmest of the kernel's thermal zones, which report thousandths of a degree.
fn warmest(zones: &Path) -> Option<f32> {
    let zones = std::fs::read_dir(zones).ok()?;
    let read = |zone: std::fs::DirEntry| {
        let text = std::fs::read_to_string(zone.path().join("temp")).ok()?;
        let degrees = text.trim().parse::<f32>().ok()? / 1000.0;
        // Zones without a sensor report an impossible value.
        (-40.0..150.0).contains(&degrees).then_some(degrees)
    };
    zones.filter_map(|zone| read(zone.ok()?)).max_by(f32::total_cmp)
}

/// The model and what it runs, such as "Raspberry Pi 4 Model B Rev 1.4, Debian GNU/Linux 12
/// (bookworm), Linux 6.1.0".
pub fn system() -> String {
    let model = std::fs::read_to_string("/proc/device-tree/model").ok();
    let model = model.as_deref().map(|text| text.trim_matches(['\0', '\n', ' ']));
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = format!("Linux {}", kernel.trim());
    let parts =
        [Some(model.unwrap_or(std::env::consts::ARCH)), name.map(|n| n.trim_matches('"')), Some(&*kernel)];
    let whole = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    whole.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warmest_possible_zone_counts() {
        let folder = tempfile::tempdir().expect("folder");
        for (zone, text) in [("a", "41500\n"), ("b", "61250\n"), ("c", "-274000\n"), ("d", "hot\n")] {
            std::fs::create_dir(folder.path().join(zone)).expect("zone");
            std::fs::write(folder.path().join(zone).join("temp"), text).expect("temp");
        }
        assert_eq!(warmest(folder.path()), Some(61.25));
        assert_eq!(warmest(&folder.path().join("none")), None);
    }

    #[test]
    fn this_machine_has_a_name_and_some_room() {
        assert!(system().contains("Linux"), "{}", system());
        assert!(Machine::read(Path::new("/")).free_mb > 0);
    }
}
