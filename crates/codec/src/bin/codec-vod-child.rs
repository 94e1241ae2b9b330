//! The VOD child without the rest of live360: for this crate's tests, and to look at it alone.

fn main() -> std::process::ExitCode {
    match codec::vod::serve() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
