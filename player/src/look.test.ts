import { expect, describe as group, test } from "vitest";
import { aboutX, aboutY, degreesPerPixel, describe, Look, multiply, verticalFov, wrap } from "./look";
import { deviceRotation } from "./orientation";

/** Coasts until it stands. @returns the steps that took, of 16 ms */
function settle(look: Look): number {
  let steps = 0;
  while (look.step(16)) steps += 1;
  return steps;
}

group("turning", () => {
  test("yaw goes round and pitch stops at the poles", () => {
    const look = new Look();
    look.turn(190, 100);
    expect([look.yaw, look.pitch]).toEqual([-170, 90]);
    look.turn(-20, -300);
    expect([look.yaw, look.pitch]).toEqual([170, -90]);
  });

  test("the field of view stays between 30° and 110°", () => {
    const look = new Look();
    look.zoom(100);
    expect(look.fov).toBe(110);
    look.zoom(0.001);
    expect(look.fov).toBe(30);
    for (const senseless of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) look.zoom(senseless);
    expect(look.fov).toBe(30);
  });

  test("set takes what makes sense and leaves the rest", () => {
    const look = new Look({ yaw: 10, pitch: 5 });
    look.set({ yaw: 540 });
    look.set({ pitch: Number.NaN });
    expect([look.yaw, look.pitch, look.fov]).toEqual([-180, 5, 90]);
  });

  test("reset goes back to the view one came with", () => {
    const look = new Look({ yaw: 30, fov: 60 });
    look.turn(50, 20);
    look.zoom(1.5);
    look.reset();
    expect([look.yaw, look.pitch, look.fov]).toEqual([30, 0, 60]);
  });
});

group("coasting", () => {
  const fling = (look: Look) => {
    look.hold();
    for (let i = 0; i < 10; i += 1) look.turn(2, 0, 16);
    look.release();
  };

  test("goes on in the drag's direction, slows down and stands within two seconds", () => {
    const look = new Look();
    fling(look);
    const before = look.yaw;
    const steps = settle(look);
    expect(look.yaw).toBeGreaterThan(before + 10);
    expect(steps * 16).toBeLessThan(2_500);
  });

  test.each<[string, (look: Look) => void]>([
    ["a finger comes down", look => look.hold()],
    ["the view is set", look => look.set({ pitch: 1 })],
  ])("ends when %s", (_, act) => {
    const look = new Look();
    fling(look);
    act(look);
    look.release();
    expect(look.step(16)).toBe(false);
  });

  test("there is none after a rest, nor for viewers who want less motion", () => {
    const rested = new Look();
    rested.turn(2, 0, 16);
    rested.release(200);
    expect(rested.step(16)).toBe(false);
    const calm = new Look();
    calm.reducedMotion = true;
    fling(calm);
    expect(calm.step(16)).toBe(false);
  });

  test("a page that was asleep does not leap", () => {
    const look = new Look();
    fling(look);
    const before = look.yaw;
    look.step(60_000);
    expect(look.yaw - before).toBeLessThan(73);
  });
});

group("a device's orientation on top of the drag", () => {
  const close = (look: Look, yaw: number, pitch: number) => {
    expect(wrap(look.heading().yaw - yaw)).toBeCloseTo(0, 5);
    expect(look.heading().pitch).toBeCloseTo(pitch, 5);
  };

  test("held upright it is level, and turning it turns the view the same way", () => {
    const look = new Look();
    look.setDevice(deviceRotation(0, 90, 0, 0));
    close(look, 0, 0);
    look.setDevice(deviceRotation(-30, 90, 0, 0));
    close(look, 30, 0);
    look.setDevice(deviceRotation(0, 120, 0, 0));
    close(look, 0, 30);
  });

  test("on its side the same, whichever way the screen turned", () => {
    const look = new Look();
    look.setDevice(deviceRotation(0, 0, -90, 90));
    const { yaw } = look.heading();
    close(look, yaw, 0);
    // A quarter turn to the right about the upright.
    look.setDevice(multiply(aboutY(-90), deviceRotation(0, 0, -90, 90)));
    close(look, yaw + 90, 0);
  });

  test("the picture does not jump when it comes or goes", () => {
    const look = new Look({ yaw: 70 });
    look.setDevice(deviceRotation(123, 90, 0, 0));
    close(look, 70, 0);
    look.setDevice(deviceRotation(113, 100, 0, 0));
    look.turn(5, 0);
    close(look, 85, 10);
    look.setDevice(null);
    close(look, 85, 10);
    expect(look.yaw).toBeCloseTo(85, 5);
  });
});

test("yaw to the right and pitch up are rotations about −y and x", () => {
  const look = new Look({ yaw: 40, pitch: 25 });
  expect(look.rotation()).toEqual(multiply(aboutY(-40), aboutX(25)));
  expect(look.heading().yaw).toBeCloseTo(40, 6);
  expect(look.heading().pitch).toBeCloseTo(25, 6);
});

test("the field is across the longer side", () => {
  expect(verticalFov(90, 0.5)).toBe(90);
  expect(verticalFov(90, 1)).toBe(90);
  expect(verticalFov(90, 2)).toBeCloseTo(53.13, 2);
  // In the middle of a 90° view over 1000 px, a pixel is atan(2/1000).
  expect(degreesPerPixel(90, 1000)).toBeCloseTo(0.1146, 4);
});

test.each([
  [0, 0, "Facing front, 0°, level"],
  [120, 10, "Facing back right, 120°, 10° up"],
  [-90, -31, "Facing left, -90°, 31° down"],
  [359, 2, "Facing front, -1°, level"],
])("yaw %d, pitch %d in words", (yaw, pitch, words) => {
  expect(describe(yaw, pitch)).toBe(words);
});
