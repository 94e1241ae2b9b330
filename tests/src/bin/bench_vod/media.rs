//! What is transcoded: real panoramas one after the other where there are some, else drawn ones.

use crate::call;
use std::path::{Path, PathBuf};

/// Clips of other kinds of motion and texture; a scene each. They come from outside this repository.
const CLIPS: [&str; 3] = ["valiant_overpass.mp4", "gvr_congo.mp4", "kexhest_equirectangular.mp4"];

/// A file of `seconds` at this width, twice as wide as high, 30 pictures a second, key frames every 2 s, with sound.
/// Good enough that what is lost in it is not what is measured. Scenes change every few seconds and come again.
pub(crate) async fn source(dir: &Path, width: u32, seconds: u32) -> PathBuf {
    let file = dir.join(format!("source-{width}-{seconds}.mp4"));
    let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media");
    let clips: Vec<PathBuf> = CLIPS.iter().map(|clip| clips.join(clip)).filter(|clip| clip.is_file()).collect();
    let scene = dir.join(format!("scene-{width}.mp4"));
    let height = width / 2;
    let encoding = "-c:v libx264 -preset veryfast -crf 17 -pix_fmt yuv420p -g 60 -keyint_min 60 -sc_threshold 0 -an -y";
    if !scene.is_file() {
        let mut args = words("-v error -nostdin");
        let mut graph = String::new();
        if clips.is_empty() {
            let drawn = format!("mandelbrot=size={width}x{height}:rate=30:maxiter=400:inner=convergence");
            args.extend(["-f", "lavfi", "-t", "12", "-i", &drawn, "-f", "lavfi", "-t", "8", "-i"].map(str::to_owned));
            args.push(format!("testsrc2=size={width}x{height}:rate=30,noise=alls=6:allf=t"));
            graph.push_str("[0:v][1:v]concat=n=2:v=1:a=0[v]");
        } else {
            for clip in &clips {
                args.extend(["-i".to_owned(), clip.display().to_string()]);
            }
            let same = |at: usize| format!("[{at}:v]scale={width}:{height},setsar=1,fps=30,format=yuv420p[c{at}];");
            graph.extend((0..clips.len()).map(same));
            graph.extend((0..clips.len()).map(|at| format!("[c{at}]")));
            graph.push_str(&format!("concat=n={}:v=1:a=0[v]", clips.len()));
        }
        args.extend(["-filter_complex".to_owned(), graph, "-map".to_owned(), "[v]".to_owned()]);
        args.extend(words(encoding));
        args.push(scene.display().to_string());
        call::ffmpeg(&args).await;
    }
    let mut args = words("-v error -nostdin -stream_loop -1 -i");
    args.push(scene.display().to_string());
    args.extend(words(
        "-f lavfi -i sine=frequency=330:sample_rate=48000 -map 0:v -map 1:a -c:v copy -c:a aac -b:a 128k -y",
    ));
    args.extend(["-t".to_owned(), seconds.to_string(), file.display().to_string()]);
    call::ffmpeg(&args).await;
    file
}

/// The same content again and again, without encoding anything.
pub(crate) async fn longer(dir: &Path, file: &Path, seconds: u32) -> PathBuf {
    let target = dir.join(format!("longer-{seconds}.mp4"));
    let mut args = words("-v error -nostdin -stream_loop -1 -i");
    args.push(file.display().to_string());
    args.extend(words("-c copy -y -t"));
    args.extend([seconds.to_string(), target.display().to_string()]);
    call::ffmpeg(&args).await;
    target
}

/// Where it comes from, for the report.
pub(crate) fn words_for_it() -> String {
    let clips = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media");
    let found = CLIPS.iter().filter(|clip| clips.join(clip).is_file()).count();
    if found > 0 { format!("{found} real clips in turn") } else { "drawn pictures".to_owned() }
}

/// Words of a command line that have no spaces in them.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
