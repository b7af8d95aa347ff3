//! What is in `packaging` against what it is about: files that are named are there, versions are those
//! of the crate. Package and unit are tried in `tests/netns/packaged.rs`; for the container file there
//! is nothing to try it with.

use std::path::Path;
use std::process::Command;

const MANIFEST: &str = include_str!("../Cargo.toml");
const CONTAINER: &str = include_str!("../packaging/Containerfile");
const UNIT: &str = include_str!("../packaging/guideway.service");
/// None where only the pure half is built.
const GUIDEWAY: Option<&str> = option_env!("CARGO_BIN_EXE_guideway");

fn is_there(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// Instructions of the container file, with their continued lines.
fn instructions() -> Vec<(&'static str, String)> {
    let joined = CONTAINER.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let known = ["FROM", "WORKDIR", "COPY", "RUN", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"];
    let instruction = |line: &str| {
        let (name, rest) = line.split_once(' ').unwrap();
        let name = known.iter().find(|known| **known == name);
        (*name.unwrap_or_else(|| panic!("{line}")), rest.to_owned())
    };
    lines.map(instruction).collect()
}

#[test]
fn the_container_is_built_of_what_there_is() {
    let instructions = instructions();
    let of = |wanted: &str| -> Vec<&String> {
        instructions.iter().filter(|(name, _)| *name == wanted).map(|(_, rest)| rest).collect()
    };
    let rust = MANIFEST.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(of("FROM")[0].contains(&format!("/rust:{}-", rust.trim_matches('"'))));
    assert!(of("FROM")[0].ends_with(" AS build"));
    let debian = |image: &str| image.contains("bookworm");
    assert!(of("FROM").iter().all(|image| debian(image)), "built and run on the same Debian");
    for copied in of("COPY") {
        let (from, _) = copied.rsplit_once(' ').unwrap();
        let made = from == "--from=build /build/target/release/guideway";
        assert!(made || is_there(from), "{copied}");
    }
    assert!(of("ENTRYPOINT")[0].contains("/usr/sbin/guideway"));
    // The image's command, but for the path of the file.
    let words = of("CMD")[0].trim_matches(['[', ']']).replace(['"', ','], "");
    let words: Vec<&str> = words.split(' ').collect();
    assert_eq!(words, ["run", "--config", "/etc/guideway/guideway.yaml"]);
    assert!(UNIT.contains(&format!("ExecStart=/usr/sbin/guideway {}\n", words.join(" "))));
}

/// Each library that the binary asks for is in a package that the image gets, or in its C library.
#[test]
#[cfg(feature = "afxdp")]
fn the_container_has_the_binarys_libraries() {
    let Some(guideway) = GUIDEWAY else { return };
    let output = Command::new("ldd").arg(guideway).output().unwrap();
    let libraries = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> =
        libraries.lines().filter_map(|line| line.trim().split(['.', ' ']).next()).collect();
    assert!(names.contains(&"libelf"), "{libraries}");
    let install = CONTAINER.lines().find(|line| line.contains("apt-get install")).unwrap();
    for name in names {
        let package = match name {
            "libelf" => "libelf1",
            "libz" => "zlib1g",
            "libgcc_s" => "libgcc-s1",
            "libc" | "libm" | "linux-vdso" | "/lib64/ld-linux-x86-64" => continue,
            "/lib/ld-linux-aarch64" => continue,
            other => panic!("{other} is of no package that the image has:\n{libraries}"),
        };
        assert!(install.split(' ').any(|word| word == package), "{package} is missing: {install}");
    }
}

/// It is no example that would take an interface of whoever installs it: a start by it is refused, for
/// the one reason that it names none.
#[test]
fn the_packages_configuration_waits_for_its_operator() {
    let Some(guideway) = GUIDEWAY else { return };
    let output = Command::new(guideway).args(["check", "packaging/guideway.yaml"]).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("interfaces: ") && !told.contains("more"), "{told}");
    let filled =
        include_str!("../packaging/guideway.yaml").replace("[]\n", "\n").replace("#   ", "  ");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guideway.yaml");
    std::fs::write(&file, &filled).unwrap();
    let output = Command::new(guideway).arg("check").arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "its examples, without the `#`: {told}\n{filled}");
}

#[test]
fn what_the_package_is_made_of_is_there() {
    let (_, deb) = MANIFEST.split_once("[package.metadata.deb]").unwrap();
    let assets = deb.lines().filter_map(|line| line.strip_prefix("    [\"")?.split('"').next());
    let assets: Vec<&str> = assets.collect();
    assert!(assets.len() > 8, "{assets:?}");
    for asset in assets {
        // Made by the build, and by scripts/package.
        let folder = asset.split('*').next().unwrap().rsplit_once('/').map_or("", |(f, _)| f);
        let is_made = asset.starts_with("target/");
        assert!(is_made || is_there(asset) || (asset.contains('*') && is_there(folder)), "{asset}");
    }
    for (key, wanted) in [("Type", "notify"), ("RestartPreventExitStatus", "2")] {
        assert!(UNIT.lines().any(|line| line == format!("{key}={wanted}")), "{key}");
    }
}
