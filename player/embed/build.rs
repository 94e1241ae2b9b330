//! Writes the table of the page's files for `lib.rs` to include: what `npm run build` left in `player/dist`.
//!
//! Knows the layout of `dist` (`index.html` and `assets/`), nothing of what the files do. Without a build the table is
//! empty, so that Rust alone still compiles.

use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let dist = root.join("dist");
    // Cargo takes a missing path for one that always changes, and would rebuild everything above this crate each time.
    // Where the folder can't be made (a read-only checkout) that is all that happens.
    let _ = fs::create_dir_all(&dist);
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=embed/build.rs");
    let page = match fs::canonicalize(dist.join("index.html")) {
        Ok(index) => format!("Some({})", entry("index.html", &index, false)?),
        Err(_) => "None".to_owned(),
    };
    let mut table = format!("static BUILT: Option<File> = {page};\n");
    let mut entries = String::new();
    let mut count = 0;
    for path in files(&dist.join("assets"))? {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a file name in dist/assets is not UTF-8")?;
        // Source maps are for developers; they would only make the binary larger.
        if !name.ends_with(".map") {
            writeln!(entries, "    {},", entry(name, &path, true)?)?;
            count += 1;
        }
    }
    // An array, not a slice: the bytes count their readers, which a borrowed constant may not.
    writeln!(table, "static FILES: [File; {count}] = [\n{entries}];")?;
    fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("files.rs"), table)?;
    Ok(())
}

/// The files of a flat folder in order of name, so that the same build gives the same binary.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

/// The Rust expression for one file.
fn entry(name: &str, path: &Path, immutable: bool) -> Result<String, Box<dyn Error>> {
    let hash = Sha256::digest(fs::read(path)?);
    let etag = hash.iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let kind = content_type(name);
    let path = path.display().to_string();
    Ok(format!(
        "File {{ name: {name:?}, content_type: {kind:?}, etag: {etag:?}, immutable: {immutable}, \
         bytes: Bytes::from_static(include_bytes!({path:?})) }}"
    ))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
