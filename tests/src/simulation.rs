//! A fleet of workers at one job, without the workers: how much of their time is work.
//!
//! Pure: an event simulation over tasks' times, which are drawn from measured ones. Each worker takes the next task when it
//! is free; the first plans before there are tasks, the last finishes the job. Knows no queues, stores or encoders: what
//! those cost is given.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a job costs besides its segments, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Overheads {
    /// From the source's arrival until its tasks are on the queue; meanwhile nobody can encode.
    pub plan_s: f64,
    /// Of each task: to receive it, to look what is there, to start a child and decode up to the first picture, to store facts.
    pub task_s: f64,
    /// From the last task's end until the asset can be played.
    pub finish_s: f64,
}

/// A task before its segments' times are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// How many segments.
    pub segments: u32,
    /// How much of their time it takes, if it makes not all of their rungs.
    pub takes: f64,
    /// How much of that is work on which others don't spend time too: decoding for a part of the rungs is done again for the
    /// others.
    pub counts: f64,
}

impl Piece {
    /// A task that makes all rungs.
    pub fn whole(segments: u32) -> Self {
        Self { segments, takes: 1.0, counts: 1.0 }
    }
}

/// A task's time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Task {
    /// What it takes.
    pub takes: f64,
    /// What of it one worker alone would have spent.
    pub counts: f64,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// From the source's arrival to the asset, s.
    pub makespan_s: f64,
    /// What one worker would have spent on segments alone, s.
    pub work_s: f64,
    /// Work's share of what the workers' time was: 1 is perfect.
    pub efficiency: f64,
}

/// Works off tasks in this order.
pub fn run(tasks: &[Task], workers: usize, overheads: Overheads) -> Outcome {
    let workers = workers.max(1);
    // When each worker is free, in µs: integers have an order.
    let planned = micros(overheads.plan_s);
    let mut free: BinaryHeap<Reverse<u64>> = (0..workers).map(|_| Reverse(planned)).collect();
    let mut last = planned;
    for task in tasks {
        let Some(Reverse(at)) = free.pop() else { break };
        let end = at.saturating_add(micros(task.takes + overheads.task_s));
        last = last.max(end);
        free.push(Reverse(end));
    }
    let makespan_s = last as f64 / 1e6 + overheads.finish_s;
    let work_s: f64 = tasks.iter().map(|task| task.counts).sum();
    Outcome { makespan_s, work_s, efficiency: work_s / (workers as f64 * makespan_s) }
}

fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6).round() as u64
}

/// Times of tasks: each task's segments are a stretch of the measured ones that begins at random
/// and goes on where it was measured, so that what is alike in neighbours stays so. `scale` says how much more the job's
/// segments cost than the measured ones.
pub fn draw(pieces: &[Piece], measured: &[f64], scale: f64, dice: &mut Dice) -> Vec<Task> {
    let count = measured.len().max(1);
    let mut task = |piece: &Piece| {
        let from = dice.below(count);
        let stretch = measured.iter().cycle().skip(from).take(piece.segments as usize);
        let all = stretch.sum::<f64>() * scale;
        Task { takes: all * piece.takes, counts: all * piece.counts }
    };
    pieces.iter().map(&mut task).collect()
}

/// Efficiency over many draws: the median, and what only one draw in twenty is below. `shuffled`: the queue keeps no order.
pub fn efficiency(
    pieces: &[Piece],
    measured: &[f64],
    scale: f64,
    workers: usize,
    overheads: Overheads,
    shuffled: bool,
) -> (f64, f64) {
    let mut dice = Dice::new(1);
    let once = |dice: &mut Dice| {
        let mut tasks = draw(pieces, measured, scale, dice);
        if shuffled {
            dice.shuffle(&mut tasks);
        }
        run(&tasks, workers, overheads).efficiency
    };
    let mut all: Vec<f64> = (0..DRAWS).map(|_| once(&mut dice)).collect();
    all.sort_by(f64::total_cmp);
    (all[DRAWS / 2], all[DRAWS / 20])
}

const DRAWS: usize = 400;

/// The same numbers for the same seed (Marsaglia's xorshift).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Another row of numbers for each seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first ones resemble the seed.
        for _ in 0..8 {
            dice.roll();
        }
        dice
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// Between 0 and 1.
    pub fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn shuffle<T>(&mut self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Overheads = Overheads { plan_s: 0.0, task_s: 0.0, finish_s: 0.0 };

    fn check(tasks: &[f64], workers: usize, overheads: Overheads, makespan_s: f64) {
        let whole: Vec<Task> = tasks.iter().map(|&takes| Task { takes, counts: takes }).collect();
        let outcome = run(&whole, workers, overheads);
        assert!((outcome.makespan_s - makespan_s).abs() < 1e-5, "{tasks:?} on {workers}: {outcome:?}");
        let expected = tasks.iter().sum::<f64>() / (workers as f64 * makespan_s);
        assert!((outcome.efficiency - expected).abs() < 1e-5, "{outcome:?}");
    }

    #[test]
    fn a_worker_takes_the_next_task_when_it_is_free() {
        check(&[3.0, 1.0, 1.0, 1.0], 1, NOTHING, 6.0);
        check(&[3.0, 1.0, 1.0, 1.0], 2, NOTHING, 3.0);
        check(&[1.0, 1.0, 1.0, 3.0], 2, NOTHING, 4.0);
        check(&[3.0, 1.0], 5, NOTHING, 3.0);
    }

    #[test]
    fn overheads_are_paid_by_the_job_and_by_each_task() {
        let overheads = Overheads { plan_s: 2.0, task_s: 0.5, finish_s: 1.0 };
        check(&[3.0, 3.0], 1, overheads, 2.0 + 7.0 + 1.0);
        check(&[3.0, 3.0], 2, overheads, 2.0 + 3.5 + 1.0);
    }

    #[test]
    fn tasks_are_stretches_of_what_was_measured() {
        let mut dice = Dice::new(7);
        for task in draw(&[Piece::whole(2); 100], &[1.0, 10.0, 100.0], 2.0, &mut dice) {
            assert!([22.0, 220.0, 202.0].contains(&task.takes), "{task:?}");
        }
        let pieces = [Piece::whole(3), Piece { segments: 6, takes: 0.5, counts: 0.25 }];
        let drawn = draw(&pieces, &[1.0, 10.0, 100.0], 1.0, &mut dice);
        assert_eq!(drawn, [Task { takes: 111.0, counts: 111.0 }, Task { takes: 111.0, counts: 55.5 }]);
    }

    #[test]
    fn what_is_done_twice_counts_once() {
        let half = Task { takes: 6.0, counts: 5.0 };
        let outcome = run(&[half; 4], 2, NOTHING);
        assert_eq!((outcome.makespan_s, outcome.work_s), (12.0, 20.0));
        assert!((outcome.efficiency - 20.0 / 24.0).abs() < 1e-9);
    }

    #[test]
    fn rounds_that_do_not_come_out_even_cost_what_is_idle() {
        let even = efficiency(&[Piece::whole(5); 128], &[1.0], 1.0, 64, NOTHING, true);
        assert_eq!(even, (1.0, 1.0));
        let (median, low) = efficiency(&[Piece::whole(5); 120], &[1.0], 1.0, 64, NOTHING, false);
        assert!((median - 0.9375).abs() < 1e-9 && low == median);
        let (uneven, _) = efficiency(&[Piece::whole(4); 150], &[1.0], 1.0, 64, NOTHING, false);
        assert!((uneven - 150.0 / 192.0).abs() < 1e-9);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_one_others() {
        let row = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.share()).collect::<Vec<f64>>()
        };
        assert_eq!(row(3), row(3));
        assert_ne!(row(3), row(4));
        let numbers = row(3);
        let mean = numbers.iter().sum::<f64>() / 100.0;
        assert!((0.3..0.7).contains(&mean) && numbers.iter().all(|number| (0.0..1.0).contains(number)), "{mean}");
    }
}
